"""Writes of every kind with random activations, for the tests of their laws."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from hypothesis import strategies as st
from torch import Generator, Tensor

import dla
from dla.writes import Addition, Carried, Precision, Rounding
from dla.writes.dictionaries import Dictionary
from dla.writes.routes import Activations


@final
@dataclass(frozen=True)
class Shape:
    """How large everything is."""

    batch: int = 2
    pos: int = 3
    parts: int = 4
    d_in: int = 5
    d_model: int = 6


sizes = st.integers(1, 4)
shapes = st.builds(Shape, sizes, sizes, sizes, sizes, st.integers(1, 7))
ROUTES = ("direct", "multiplied", "layer-norm", "rms-norm", "norm-without-weight")

SCALE, OTHER_SCALE = dla.Site("scale"), dla.Site("other_scale")


def route_of(name: str, shape: Shape, generator: Generator) -> dla.Route:
    weight, bias = (random(generator, shape.d_model) for _ in range(2))
    norms = {
        "layer-norm": dla.Norm(SCALE, weight, bias, centred=True),
        "rms-norm": dla.Norm(SCALE, weight),
        "norm-without-weight": dla.Norm(SCALE, centred=True),
    }
    return dla.Route(norms.get(name), 1.0 if name == "direct" else -0.7)


def _whole(shape: Shape, route: dla.Route, generator: Generator) -> tuple[dla.Write, Activations]:
    site = dla.Site("out")
    return dla.FullOutput(site, dla.Label("out"), route), {site: stream(shape, generator)}


def _change(shape: Shape, route: dla.Route, generator: Generator) -> tuple[dla.Write, Activations]:
    before, after = dla.Site("before"), dla.Site("after")
    activations = {before: stream(shape, generator), after: stream(shape, generator)}
    return dla.Change(before, after, dla.Label("block", 0), route, carry=0.8), activations


def _factored(shape: Shape, route: dla.Route, generator: Generator) -> tuple[dla.Write, Activations]:
    site = dla.Site("z")
    weight = random(generator, shape.parts, shape.d_in, shape.d_model)
    labels = [dla.Label("head", 0, part) for part in range(shape.parts)]
    activation = random(generator, shape.batch, shape.pos, shape.parts, shape.d_in)
    return dla.HeadWrites(site, weight, labels, route), {site: activation}


def _scaled(shape: Shape, route: dla.Route, generator: Generator) -> tuple[dla.Write, Activations]:
    site = dla.Site("post")
    weight = random(generator, shape.parts, shape.d_model)
    labels = [dla.Label("neuron", 0, part) for part in range(shape.parts)]
    return dla.NeuronWrites(site, weight, labels, route), {site: random(generator, shape.batch, shape.pos, shape.parts)}


def _constant(shape: Shape, route: dla.Route, generator: Generator) -> tuple[dla.Write, Activations]:
    return dla.Constant(random(generator, shape.d_model), dla.Label("b_O", 0), route), {}


def _sum(shape: Shape, route: dla.Route, generator: Generator) -> tuple[dla.Write, Activations]:
    parts = [make(shape, route, generator) for make in (_whole, _change, _factored, _scaled, _constant)]
    activations = {site: value for _, of_part in parts for site, value in of_part.items()}
    return dla.SumOf([write for write, _ in parts], dla.Label("block", 0)), activations


def _sources(shape: Shape, route: dla.Route, generator: Generator) -> tuple[dla.Write, Activations]:
    """Two heads share the values of each group; the pattern's rows add up to less than 1."""
    pattern, v, heads = dla.Site("pattern"), dla.Site("v", None), 2 * shape.parts
    weights = random(generator, shape.batch, heads, shape.pos, shape.pos).abs() / shape.pos
    values = random(generator, shape.batch, shape.pos, shape.parts, shape.d_in)
    W_O, b_V = random(generator, heads, shape.d_in, shape.d_model), random(generator, shape.parts, shape.d_in)
    labels = [dla.Label("source", 0, head, source=s) for head in range(heads) for s in range(shape.pos)]
    labels += [dla.Label("b_V", 0, head) for head in range(heads)]
    return dla.Sources(pattern, v, W_O, b_V, labels, route), {pattern: weights, v: values}


@final
@dataclass(frozen=True, eq=False)
class _Dictionary:
    """A transcoder with a skip connection."""

    W_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    W_skip: Tensor

    def encode(self, x: Tensor) -> Tensor:
        return (x @ self.W_enc).relu()


def _features(shape: Shape, route: dla.Route, generator: Generator) -> tuple[dla.Write, Activations]:
    read, written, d_in, d_out = dla.Site("x"), dla.Site("y"), shape.d_in, shape.d_in + 1
    sizes = ((d_in, shape.parts), (shape.parts, d_out), (d_out,), (d_out, d_in))
    source = _Dictionary(*(random(generator, *size) for size in sizes))
    dictionary = Dictionary(source, "x", "y", by_head=False, plain=True)
    labels = [*(dla.Label("feature", 0, i) for i in range(shape.parts)), *map(dla.Label, ("b_dec", "skip", "error"))]
    activations = {read: random(generator, shape.batch, shape.pos, d_in)}
    activations[written] = random(generator, shape.batch, shape.pos, d_out)
    weight = random(generator, d_out, shape.d_model)
    return dla.Features(dictionary, read, written, weight, labels, route), activations


def _experts(shape: Shape, route: dla.Route, generator: Generator) -> tuple[dla.Write, Activations]:
    """Two of several experts for each token, their weights divided by their sum, and a shared one behind a gate."""
    x, index, weight, shared, gate = (dla.Site(name) for name in ("x", "index", "weight", "shared", "gate"))
    count = shape.parts + 1
    matrices = random(generator, count, shape.d_model, shape.d_model)
    chosen = random(generator, shape.batch, shape.pos, count).topk(2).indices

    def call(tokens: Tensor, which: Tensor) -> Tensor:
        return torch.einsum("td,tde->te", tokens, matrices[which[:, 0]])

    labels = [*(dla.Label("expert", 0, i) for i in range(count)), dla.Label("shared_experts", 0)]
    activations = {x: stream(shape, generator), index: chosen, shared: stream(shape, generator)}
    activations[weight] = random(generator, shape.batch, shape.pos, count).abs() + 0.1
    activations[gate] = random(generator, shape.batch, shape.pos, 1)
    return dla.Experts(x, index, weight, call, True, shared, gate, labels, route), activations


def _rounding(shape: Shape, route: dla.Route, generator: Generator) -> tuple[dla.Write, Activations]:
    """What each head loses when it adds up its sources in half precision."""
    sources, activations = _sources(shape, route, generator)
    assert isinstance(sources, dla.Sources)
    z, precision = dla.Site("z"), Precision.of(torch.bfloat16)
    step = Carried(sources.pattern, sources.v, precision)
    rounded = step.at(activations).value.bfloat16().double()
    labels = [dla.Label("rounding", 0, head) for head in range(2 * shape.parts)]
    return Rounding(step, z, labels, sources.W_O, route), {**activations, z: rounded}


def _rounding_of_a_sum(shape: Shape, route: dla.Route, generator: Generator) -> tuple[dla.Write, Activations]:
    left, right, after = dla.Site("left"), dla.Site("right"), dla.Site("after")
    activations = {left: stream(shape, generator), right: stream(shape, generator)}
    step = Addition([(left, 1.0), (right, 0.3)], Precision.of(torch.float16))
    activations[after] = step.at(activations).value.half().double()
    return Rounding(step, after, [dla.Label("rounding", 0)], None, route), activations


KINDS: dict[str, Callable[[Shape, dla.Route, Generator], tuple[dla.Write, Activations]]] = {
    "whole": _whole,
    "change": _change,
    "factored": _factored,
    "scaled": _scaled,
    "constant": _constant,
    "sum": _sum,
    "sources": _sources,
    "features": _features,
    "experts": _experts,
    "rounding": _rounding,
    "rounding of a sum": _rounding_of_a_sum,
}


def sample(kind: str, route: str, shape: Shape, seed: int) -> tuple[dla.Write, Activations, Generator]:
    """A write, activations at all that it reads, and the generator for what else a test draws."""
    generator = Generator().manual_seed(seed)
    write, activations = KINDS[kind](shape, route_of(route, shape, generator), generator)
    scale, other = (random(generator, shape.batch, shape.pos).abs() + 0.5 for _ in range(2))
    return write, {**activations, SCALE: scale, OTHER_SCALE: other}, generator


def stream(shape: Shape, generator: Generator) -> Tensor:
    return random(generator, shape.batch, shape.pos, shape.d_model)


def random(generator: Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)

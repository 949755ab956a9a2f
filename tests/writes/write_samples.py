"""Writes of every kind with random activations, each with its dense truth: every vector, one position at a time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import torch
from hypothesis import strategies as st
from torch import Generator, Tensor

import dla
from dla.writes import Addition, OwnScale, PatternProduct, Precision, Rounding
from dla.writes.dictionaries import Dictionary


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
EPS = 1e-3

Dense = Callable[[int, int, int], Tensor]
"""The vector `[d_model]` of a part at a prompt and position, before the route."""


class Sample(NamedTuple):
    """A write of one kind.

    Attributes:
        write: The write.
        activations: At all sites that it reads, and at `OTHER_SCALE`.
        truth: Its vectors, `[part batch pos d_model]`, found without a line of the library.
        generator: For what else a test draws.
    """

    write: dla.Write
    activations: Mapping[dla.Site, Tensor]
    truth: Tensor
    generator: Generator


Made = tuple[dla.Write, dict[dla.Site, Tensor], Dense]


def route_of(name: str, shape: Shape, generator: Generator) -> dla.Route:
    weight, bias = (random(generator, shape.d_model) for _ in range(2))
    norms = {
        "layer-norm": dla.Norm(SCALE, weight, bias, centred=True),
        "rms-norm": dla.Norm(SCALE, weight),
        "norm-without-weight": dla.Norm(SCALE, centred=True),
    }
    return dla.Route(norms.get(name), 1.0 if name == "direct" else -0.7)


def matrix_of(route: dla.Route, scale: Tensor, d_model: int) -> Tensor:
    """The linear map of a route at one position, `[d_model d_model]`; `scale` is what the norm divides by there."""
    matrix = route.multiplier * torch.eye(d_model, dtype=torch.float64)
    if route.norm is None:
        return matrix
    centring = torch.eye(d_model, dtype=torch.float64) - (1 / d_model if route.norm.centred else 0.0)
    weight = torch.ones(d_model, dtype=torch.float64) if route.norm.weight is None else route.norm.weight
    return matrix @ torch.diag(weight) @ centring / scale


def _whole(shape: Shape, route: dla.Route, generator: Generator) -> Made:
    site, x = dla.Site("out"), stream(shape, generator)
    return dla.FullOutput(site, dla.Label("out"), route), {site: x}, lambda _, b, p: x[b, p]


def _change(shape: Shape, route: dla.Route, generator: Generator) -> Made:
    before, after = dla.Site("before"), dla.Site("after")
    x, y = stream(shape, generator), stream(shape, generator)
    write = dla.Change(before, after, dla.Label("block", 0), route, carry=0.8)
    return write, {before: x, after: y}, lambda _, b, p: y[b, p] - 0.8 * x[b, p]


def _factored(shape: Shape, route: dla.Route, generator: Generator) -> Made:
    site, weight = dla.Site("z"), random(generator, shape.parts, shape.d_in, shape.d_model)
    z = random(generator, shape.batch, shape.pos, shape.parts, shape.d_in)
    labels = [dla.Label("head", 0, part) for part in range(shape.parts)]
    return dla.HeadWrites(site, weight, labels, route), {site: z}, lambda h, b, p: z[b, p, h] @ weight[h]


def _scaled(shape: Shape, route: dla.Route, generator: Generator) -> Made:
    site, weight = dla.Site("post"), random(generator, shape.parts, shape.d_model)
    post = random(generator, shape.batch, shape.pos, shape.parts)
    labels = [dla.Label("neuron", 0, part) for part in range(shape.parts)]
    return dla.NeuronWrites(site, weight, labels, route), {site: post}, lambda n, b, p: post[b, p, n] * weight[n]


def _constant(shape: Shape, route: dla.Route, generator: Generator) -> Made:
    vector = random(generator, shape.d_model)
    return dla.Constant(vector, dla.Label("b_O", 0), route), {}, lambda *_: vector


def _own_scale(shape: Shape, route: dla.Route, generator: Generator) -> Made:
    """The final norm's scale is computed from the stream in the units of the final one, after the route."""
    write, activations, dense = _whole(shape, route, generator)
    assert isinstance(write, dla.FullOutput)
    return OwnScale(write, dla.Norm(OTHER_SCALE, centred=True, eps=EPS)), activations, dense


def _sum(shape: Shape, route: dla.Route, generator: Generator) -> Made:
    made = [make(shape, route, generator) for make in (_whole, _change, _factored, _scaled, _constant)]
    activations = {site: value for _, of_part, _ in made for site, value in of_part.items()}

    def dense(_: int, b: int, p: int) -> Tensor:
        return torch.stack([each(part, b, p) for write, _, each in made for part in range(len(write.labels))]).sum(0)

    return dla.SumOf([write for write, _, _ in made], dla.Label("block", 0)), activations, dense


def _sources(shape: Shape, route: dla.Route, generator: Generator) -> Made:
    """Two heads share the values of each group; the pattern's rows add up to less than 1."""
    pattern, v, heads = dla.Site("pattern"), dla.Site("v", None), 2 * shape.parts
    weights = random(generator, shape.batch, heads, shape.pos, shape.pos).abs() / shape.pos
    values = random(generator, shape.batch, shape.pos, shape.parts, shape.d_in)
    W_O, b_V = random(generator, heads, shape.d_in, shape.d_model), random(generator, shape.parts, shape.d_in)
    labels = [dla.Label("source", 0, head, source=s) for head in range(heads) for s in range(shape.pos)]
    labels += [dla.Label("b_V", 0, head) for head in range(heads)]

    def dense(part: int, b: int, p: int) -> Tensor:
        head, source = divmod(part, shape.pos) if part < heads * shape.pos else (part - heads * shape.pos, None)
        bias = b_V[head // 2]
        if source is None:
            return weights[b, head, p].sum() * bias @ W_O[head]
        return weights[b, head, p, source] * (values[b, source, head // 2] - bias) @ W_O[head]

    return dla.Sources(pattern, v, W_O, b_V, labels, route), {pattern: weights, v: values}, dense


def _spans(shape: Shape, route: dla.Route, generator: Generator) -> Made:
    """Sources added up over two spans, in which other ones are in each prompt."""
    sources, activations, dense = _sources(shape, route, generator)
    assert isinstance(sources, dla.Sources)
    heads = 2 * shape.parts
    spans = torch.randint(2, (shape.batch, shape.pos), generator=generator)
    labels = [dla.Label("span", 0, i // 2, f"{i // 2} ← {i % 2}") for i in range(2 * heads)]

    def of_span(part: int, b: int, p: int) -> Tensor:
        if part >= 2 * heads:
            return dense(part - 2 * heads + heads * shape.pos, b, p)
        own = [dense(part // 2 * shape.pos + s, b, p) for s in range(shape.pos) if spans[b, s] == part % 2]
        return sum(own, torch.zeros(shape.d_model).to(sources.W_O))

    labels += [label for label in sources.labels if label.kind == "b_V"]
    return replace(sources, parts=labels, spans=spans), activations, of_span


class _Transcoder(NamedTuple):
    """A transcoder with a skip connection."""

    W_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    W_skip: Tensor

    def encode(self, x: Tensor) -> Tensor:
        return (x @ self.W_enc).relu()


def _features(shape: Shape, route: dla.Route, generator: Generator) -> Made:
    read, written, d_in, d_out = dla.Site("x"), dla.Site("y"), shape.d_in, shape.d_in + 1
    each = ((d_in, shape.parts), (shape.parts, d_out), (d_out,), (d_out, d_in))
    source = _Transcoder(*(random(generator, *size) for size in each))
    labels = [*(dla.Label("feature", 0, i) for i in range(shape.parts)), *map(dla.Label, ("b_dec", "skip", "error"))]
    x, y = random(generator, shape.batch, shape.pos, d_in), random(generator, shape.batch, shape.pos, d_out)
    weight = random(generator, d_out, shape.d_model)

    def dense(part: int, b: int, p: int) -> Tensor:
        activations = (x[b, p] @ source.W_enc).clamp(min=0)
        rows = [*(activations[i] * source.W_dec[i] for i in range(shape.parts)), source.b_dec, source.W_skip @ x[b, p]]
        return [*rows, y[b, p] - torch.stack(rows).sum(0)][part] @ weight

    dictionary = Dictionary(source, "x", "y", by_head=False, plain=True)
    return dla.Features(dictionary, read, written, weight, labels, route), {read: x, written: y}, dense


def _experts(shape: Shape, route: dla.Route, generator: Generator) -> Made:
    """Two of several experts for each token, their weights divided by their sum, and a shared one behind a gate."""
    sites = tuple(dla.Site(name) for name in ("x", "index", "weight", "shared", "gate"))
    count = shape.parts + 2  # with two, weights by expert could not be told from weights by choice
    matrices = random(generator, count, shape.d_model, shape.d_model)
    chosen = random(generator, shape.batch, shape.pos, count).topk(2).indices
    x, shared = stream(shape, generator), stream(shape, generator)
    weights = random(generator, shape.batch, shape.pos, count).abs() + 0.1
    gate = random(generator, shape.batch, shape.pos, 1)

    def call(tokens: Tensor, which: Tensor) -> Tensor:
        return torch.einsum("td,tde->te", tokens, matrices[which[:, 0]])

    def dense(part: int, b: int, p: int) -> Tensor:
        if part == count:
            return shared[b, p] / (1 + (-gate[b, p, 0]).exp())
        share = weights[b, p, part] / weights[b, p][chosen[b, p]].sum() if part in chosen[b, p].tolist() else 0.0
        return share * (x[b, p] @ matrices[part])

    labels = [*(dla.Label("expert", 0, i) for i in range(count)), dla.Label("shared_experts", 0)]
    activations = dict(zip(sites, (x, chosen, weights, shared, gate), strict=True))
    return dla.ExpertWrites(*sites[:3], call, True, *sites[3:], labels, route), activations, dense


def _rounding(shape: Shape, route: dla.Route, generator: Generator) -> Made:
    """What each head loses when it adds up its sources in half precision."""
    pattern, v, z, heads = dla.Site("pattern"), dla.Site("v", None), dla.Site("z"), 2 * shape.parts
    weights = random(generator, shape.batch, heads, shape.pos, shape.pos).abs() / shape.pos
    values = random(generator, shape.batch, shape.pos, shape.parts, shape.d_in)
    W_O = random(generator, heads, shape.d_in, shape.d_model)
    carried = torch.einsum("bhqs,bshd->bqhd", weights, values[:, :, [head // 2 for head in range(heads)]])
    seen = carried.bfloat16().double()
    step = PatternProduct(pattern, v, Precision.of(torch.bfloat16))
    write = Rounding(step, z, [dla.Label("rounding", 0, head) for head in range(heads)], W_O, route)
    activations = {pattern: weights, v: values, z: seen}
    return write, activations, lambda h, b, p: (seen[b, p, h] - carried[b, p, h]) @ W_O[h]


def _rounding_of_a_sum(shape: Shape, route: dla.Route, generator: Generator) -> Made:
    left, right, after = dla.Site("left"), dla.Site("right"), dla.Site("after")
    x, y = stream(shape, generator), stream(shape, generator)
    seen = (x + 0.3 * y).half().double()
    step = Addition([(left, 1.0), (right, 0.3)], Precision.of(torch.float16))
    write = Rounding(step, after, [dla.Label("rounding", 0)], None, route)
    return write, {left: x, right: y, after: seen}, lambda _, b, p: seen[b, p] - x[b, p] - 0.3 * y[b, p]


KINDS: dict[str, Callable[[Shape, dla.Route, Generator], Made]] = {
    "whole": _whole,
    "change": _change,
    "factored": _factored,
    "scaled": _scaled,
    "constant": _constant,
    "own scale": _own_scale,
    "sum": _sum,
    "sources": _sources,
    "spans": _spans,
    "features": _features,
    "experts": _experts,
    "rounding": _rounding,
    "rounding of a sum": _rounding_of_a_sum,
}


def sample(kind: str, route: str, shape: Shape, seed: int) -> Sample:
    """A write of a kind, whose parts take a route to the stream."""
    generator = Generator().manual_seed(seed)
    way = route_of(route, shape, generator)
    write, activations, dense = KINDS[kind](shape, way, generator)
    scale, other = (random(generator, shape.batch, shape.pos).abs() + 0.5 for _ in range(2))
    truth = torch.empty(len(write.labels), shape.batch, shape.pos, shape.d_model, dtype=torch.float64)
    for part, b, p in torch.cartesian_prod(*map(torch.arange, truth.shape[:3])).tolist():
        vector = matrix_of(way, scale[b, p], shape.d_model) @ dense(part, b, p)
        if kind == "own scale":
            vector = vector / (vector.var(unbiased=False) + EPS).sqrt()
        truth[part, b, p] = vector
    return Sample(write, {**activations, SCALE: scale, OTHER_SCALE: other}, truth, generator)


def stream(shape: Shape, generator: Generator) -> Tensor:
    return random(generator, shape.batch, shape.pos, shape.d_model)


def random(generator: Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)

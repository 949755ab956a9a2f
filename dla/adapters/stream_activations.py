"""Places: what the activation at a hook name adds to the stream, and on which way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from dla.adapters.anatomy import Block, Sublayer, biases
from dla.adapters.base import ModelAdapter
from dla.labels import Label
from dla.writes import Write
from dla.writes.routes import Route
from dla.writes.sites import Site


@final
@dataclass(frozen=True, eq=False)
class StreamActivation:
    """An activation `[batch pos d]` that becomes a part of the stream.

    Attributes:
        name: What its pieces' labels begin with, such as "5_mlp_out", "5_z", "6_post".
        label: The part that it is, or is what its pieces add up to with `biases`.
        site: Where it is read.
        head_site: Where it is read with heads on an axis of their own, `[batch pos head d_head]`, if it has heads.
        weight: From it to what is added, `[d d_model]`; None where it is itself added.
        route: From there to the stream.
        biases: What else belongs to that part: biases.
    """

    name: str
    label: Label
    site: Site
    weight: Float[Tensor, "d d_model"] | None
    route: Route
    biases: Sequence[Write] = ()
    head_site: Site | None = None


def stream_activation(model: ModelAdapter, name: str) -> StreamActivation:
    """The place that a hook name stands for.

    Raises:
        ValueError: If the activation there is not known to become a part of the stream; names places that do.
    """
    found = [place for block in model.anatomy.blocks for place in _stream_activations(block)]
    for place in found:
        if place.site.name == name:
            return place
    some = ", ".join(repr(place.site.name) for place in _stream_activations(model.anatomy.blocks[-1]))
    raise ValueError(
        f"What the hook {name!r} shows is not known to be added to the stream of this model. Places of the last block "
        f"that are: {some}."
    )


def any_activation(name: str) -> Site:
    """Any activation, one row a position."""
    return Site(name, read=_in_rows)


def _stream_activations(block: Block) -> Iterator[StreamActivation]:
    streams = (block.resid_pre, block.resid_post) if block.resid_mid is None else (block.resid_pre, block.resid_mid)
    for stream in dict.fromkeys((*streams, block.resid_post)):
        yield StreamActivation(str(stream.label), stream.label, stream.site, None, stream.route)
    for sublayer in block.sublayers:
        yield from _outputs(sublayer)
        if sublayer.heads is not None:
            heads, name = sublayer.heads, f"{sublayer.heads.label.layer}_z"
            z = Site(heads.z.name, read=_Flat(heads.z), flattened=heads.z.flattened)
            yield StreamActivation(name, heads.label, z, heads.W_O.flatten(0, 1), heads.route, heads.biases(), heads.z)
        if sublayer.neurons is not None:
            neurons, name = sublayer.neurons, f"{sublayer.neurons.label.layer}_post"
            yield StreamActivation(
                f"{name}_act", neurons.label, neurons.post, neurons.W_out, neurons.route, neurons.biases()
            )


def _outputs(sublayer: Sublayer) -> Iterator[StreamActivation]:
    label = sublayer.write.labels[0]
    for site, route in sublayer.outputs:
        yield StreamActivation(str(label), label, site, None, route, biases(None, "", label, route, "post_norm_b"))


@final
@dataclass(frozen=True)
class _Flat:
    """All heads' activations in one row."""

    inner: Site

    def __call__(self, activation: Tensor) -> Tensor:
        return self.inner.read(activation).flatten(2)


def _in_rows(activation: Tensor) -> Tensor:
    return activation.flatten(2)

"""Activations that become part of the stream: what the activation at a hook adds to it, and by which route."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from jaxtyping import Float, Shaped
from torch import Tensor

from dla.adapters.anatomy import Block, Sublayer, biases
from dla.adapters.base import ModelAdapter
from dla.inputs.given import shown
from dla.labels import Label
from dla.writes import Write
from dla.writes.routes import Route
from dla.writes.sites import Site


@final
@dataclass(frozen=True, eq=False)
class StreamActivation:
    """An activation `[batch pos d]` that becomes a part of the stream.

    Attributes:
        name: The first words of its pieces' labels, such as "5_mlp_out", "5_z", "6_post".
        label: The part of the stream that it and `biases` make together.
        site: Where it is read, `[batch pos d]`.
        weight: From it to what is added; None where it is itself added.
        route: From what is added to the stream.
        biases: The biases that belong to the same part.
        head_site: Where it is read with an axis for heads, `[batch pos head d_head]`; None if it has no heads.
    """

    name: str
    label: Label
    site: Site
    weight: Float[Tensor, "d d_model"] | None
    route: Route
    biases: Sequence[Write] = ()
    head_site: Site | None = None


def stream_activation(model: ModelAdapter, name: str) -> StreamActivation:
    """The activation at a hook name.

    Raises:
        ValueError: If it is not known to become part of the stream; names hooks whose activations do.
    """
    for block in model.anatomy.blocks:
        for found in _stream_activations(block):
            if found.site.name == name:
                return found
    some = ", ".join(repr(known.site.name) for known in _stream_activations(model.anatomy.blocks[-1]))
    raise ValueError(
        f"What the hook {shown(name)} shows is not known to be added to the stream of this model. Places of the last "
        f"block that are: {some}."
    )


def any_activation(name: str) -> Site:
    """The site of any activation, with all axes after the position as one."""
    return Site(name, read=_flattened)


def _stream_activations(block: Block) -> Iterator[StreamActivation]:
    for stream in (block.resid_pre, block.resid_mid, block.resid_post):
        if stream is not None:
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
    """The activations of all heads as one axis."""

    inner: Site

    def __call__(self, activation: Shaped[Tensor, "batch pos ..."]) -> Shaped[Tensor, "batch pos d"]:
        return self.inner.read(activation).flatten(2)


def _flattened(activation: Shaped[Tensor, "batch pos ..."]) -> Shaped[Tensor, "batch pos d"]:
    return activation.flatten(2)

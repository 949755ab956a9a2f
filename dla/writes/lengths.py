"""How long the vectors of a write's parts are, which decides how the final norm's scale reacts to each.

The vectors themselves are built one part, or one block of a weight, at a time.
"""

from collections.abc import Iterator
from functools import singledispatch

import torch
from jaxtyping import Float
from torch import Tensor

from dla.writes.base import Write
from dla.writes.blocks import product
from dla.writes.experts import ExpertWrites
from dla.writes.factored import HeadWrites, NeuronWrites
from dla.writes.features import Features
from dla.writes.rounding import Rounding, lost_in
from dla.writes.routes import Activations, Route, centre
from dla.writes.sources import Sources
from dla.writes.sums import SumOf

_ENTRIES = 2**22  # of a weight, that are carried to the final stream at a time


@singledispatch
def squared_lengths(
    write: Write, activations: Activations, stream: Float[Tensor, "batch pos d_model"], centred: bool
) -> Float[Tensor, "part #batch #pos"]:
    """`‖c‖²` of each part's vector in the stream that enters the final norm.

    A write that is not one of the library's own builds the vectors of all its parts for that.

    Args:
        write: The write.
        activations: What it reads.
        stream: Any tensor of that stream's shape, dtype and device.
        centred: Whether the mean of a vector is subtracted first, as LayerNorm does.
    """
    return _squares(write.vectors(activations), centred)


@squared_lengths.register
def _(
    write: SumOf, activations: Activations, stream: Float[Tensor, "batch pos d_model"], centred: bool
) -> Float[Tensor, "part #batch #pos"]:
    # The vector of one part is the gradient of its value by the direction: the parts of the sum are not built.
    with torch.enable_grad():
        direction = torch.zeros_like(stream, requires_grad=True)
        value = write.contract(activations, direction).expand(1, *stream.shape[:2])
        (vector,) = torch.autograd.grad(value.sum(), direction)
    return _squares(vector.unsqueeze(0), centred)


@squared_lengths.register
def _(
    write: HeadWrites, activations: Activations, stream: Float[Tensor, "batch pos d_model"], centred: bool
) -> Float[Tensor, "part #batch #pos"]:
    return _of_each_head(activations[write.site], write.weight, write.route, activations, centred)


@squared_lengths.register
def _(
    write: Rounding, activations: Activations, stream: Float[Tensor, "batch pos d_model"], centred: bool
) -> Float[Tensor, "part #batch #pos"]:
    if write.weight is None:
        return _squares(write.vectors(activations), centred)
    lost = lost_in(write.step.at(activations), activations[write.seen])
    return _of_each_head(lost, write.weight, write.route, activations, centred)


@squared_lengths.register
def _(
    write: NeuronWrites, activations: Activations, stream: Float[Tensor, "batch pos d_model"], centred: bool
) -> Float[Tensor, "part #batch #pos"]:
    activation = activations[write.site]
    lengths = _lengths_of_rows(write.weight, write.route, activation, centred)
    # [batch pos part] -> [part batch pos]
    return _rescaled((activation.square() * lengths).movedim(-1, 0), write.route, activations)


@squared_lengths.register
def _(
    write: Sources, activations: Activations, stream: Float[Tensor, "batch pos d_model"], centred: bool
) -> Float[Tensor, "part #batch #pos"]:
    pattern, v = activations[write.pattern], activations[write.v]
    share, rows, biases = write.W_O.shape[0] // v.shape[2], [], []
    for head, W_O in enumerate(write.W_O):
        weight = _carried(W_O.to(v), write.route, centred)
        values = write.without_bias(v)[:, :, head // share]
        if write.spans is None:
            carried = _squares_of_products(values, weight)
            # [batch pos source] * [batch 1 source] -> [source batch pos]
            rows.append((pattern[:, head].square() * carried.unsqueeze(1)).movedim(-1, 0))
        else:
            read = torch.einsum("bqs,bsn,bsd->nbqd", pattern[:, head], write.membership(v), values)
            rows.append(_squares_of_products(read, weight))
        if write.b_V is not None:
            biases.append(pattern[:, head].sum(-1).square() * (write.b_V[head // share].to(v) @ weight).square().sum())
    squares = torch.cat(rows) if not biases else torch.cat([*rows, torch.stack(biases)])
    return _rescaled(squares, write.route, activations)


@squared_lengths.register
def _(
    write: ExpertWrites, activations: Activations, stream: Float[Tensor, "batch pos d_model"], centred: bool
) -> Float[Tensor, "part #batch #pos"]:
    squares = stream.new_zeros(len(write.labels), *stream.shape[:2])
    for index, vectors in write.written(activations):
        found = _squares(write.route.push_forward(vectors, activations), centred)
        squares = squares.scatter_add(0, index.unsqueeze(0), found.unsqueeze(0))
    return squares


@squared_lengths.register
def _(
    write: Features, activations: Activations, stream: Float[Tensor, "batch pos d_model"], centred: bool
) -> Float[Tensor, "part #batch #pos"]:
    features, rest = write.explained(activations)
    lengths = _lengths_of_rows(write.dictionary.W_dec, write.route, features, centred, write.weight)
    squares = _rescaled((features.square() * lengths).movedim(-1, 0), write.route, activations)
    rest = rest if write.weight is None else product(rest, write.weight)
    return torch.cat([squares, _squares(write.route.push_forward(rest, activations), centred)])


def _of_each_head(
    activation: Float[Tensor, "batch pos part d_in"],
    weight: Float[Tensor, "part d_in d_model"],
    route: Route,
    activations: Activations,
    centred: bool,
) -> Float[Tensor, "part batch pos"]:
    heads = zip(activation.unbind(2), weight, strict=True)
    squares = [_squares_of_products(x, _carried(of_head.detach().to(x), route, centred)) for x, of_head in heads]
    return _rescaled(torch.stack(squares), route, activations)


def _squares_of_products(
    x: Float[Tensor, "*more d_in"], weight: Float[Tensor, "d_in d_model"]
) -> Float[Tensor, "*more"]:
    """`‖x @ weight‖²`; of many vectors through the Gram matrix, which is far smaller than what they become."""
    if x[..., 0].numel() > weight.shape[0]:
        squares: Tensor = torch.linalg.vecdot(x @ (weight @ weight.T), x)
        return squares
    return _squares(x @ weight, False)


def _lengths_of_rows(
    weight: Float[Tensor, "part d_in"],
    route: Route,
    like: Float[Tensor, "..."],
    centred: bool,
    onward: Float[Tensor, "d_in d_model"] | None = None,
) -> Float[Tensor, " part"]:
    """`‖w‖²` of each row of a weight, carried to the final stream but for the division by a post-norm's scale."""

    def carried() -> Iterator[Float[Tensor, "_ d_model"]]:
        for some in weight.detach().split(max(1, _ENTRIES // weight.shape[1])):
            converted = some.to(like)
            yield _carried(converted if onward is None else converted @ onward.to(like), route, centred)

    return torch.cat([rows.square().sum(-1) for rows in carried()])


def _carried(rows: Float[Tensor, "row d_model"], route: Route, centred: bool) -> Float[Tensor, "row d_model"]:
    """Rows of a weight in the final stream, but for the division by a post-norm's scale."""
    norm = route.norm
    if norm is not None:
        rows = centre(rows) if norm.centred else rows
        rows = rows if norm.weight is None else rows * norm.weight.detach().to(rows)
    rows = rows * route.multiplier
    return centre(rows) if centred else rows


def _rescaled(
    squares: Float[Tensor, "part batch pos"], route: Route, activations: Activations
) -> Float[Tensor, "part batch pos"]:
    return squares if route.norm is None else squares / activations[route.norm.scale].square()


def _squares(vectors: Float[Tensor, "*more d_model"], centred: bool) -> Float[Tensor, "*more"]:
    vectors = centre(vectors) if centred else vectors
    squares: Tensor = torch.linalg.vecdot(vectors, vectors)
    return squares

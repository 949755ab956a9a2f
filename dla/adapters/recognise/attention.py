"""What attention heads read, recognised: the pattern and the values whose product is `z`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from dla.adapters.anatomy import Values
from dla.adapters.recognise.linear import Linear, linear_from_unit_vectors, with_update, writer_of
from dla.adapters.recognise.match import MODULE_INPUT, explained, miss_of_step, tensor_of
from dla.adapters.recognise.recording import Recording, widened
from dla.adapters.recognise.step_rounding import rounding_of
from dla.labels import ROUNDING, Label
from dla.writes import PatternProduct
from dla.writes.routes import Route
from dla.writes.sites import Site


def recognise_values(
    path: str,
    module: nn.Module,
    recording: Recording,
    z: Site,
    heads: Sequence[Label],
    W_O: Float[Tensor, "head d_head d_model"],
    route: Route,
) -> Values | str:
    """The pattern and values of the attention at `path`, or in words why they are not known.

    Args:
        path: The attention's, such as "blocks.0.attn".
        module: The attention.
        recording: What was seen.
        z: Where the heads' `pattern @ v` is read.
        heads: The heads' labels.
        W_O: From `z` to the output of the attention.
        route: From that output to the stream.
    """
    names = [f"{path}.hook_pattern", f"{path}.hook_v"]
    shown, pattern, v = recording.read(z), *(recording.activation(name) for name in names)
    if pattern is None or v is None:
        return f"{names[0] if pattern is None else names[1]} does not fire once"
    if pattern.shape != (shown.shape[0], shown.shape[2], shown.shape[1], shown.shape[1]):
        return f"{names[0]} has shape {list(pattern.shape)}"
    missed = f"{names[1]} has shape {list(v.shape)}"
    for read in layouts(v, shown.shape):
        sites = Site(names[0], 2), Site(names[1], None, read)
        step = partial(PatternProduct, *sites)
        activations, dtypes = recording.at(sites), recording.dtypes(sites)
        product = explained(step, activations, shown, *dtypes)
        if product is not None:
            lost = rounding_of(product, z, [_label_of_rounding(head) for head in heads], recording, route, W_O)
            return Values(*sites, _bias(path, module, recording, sites[1]), lost)
        missed = f"pattern @ v of {path} {miss_of_step(step, activations, shown, *dtypes)}"
    return missed


def _label_of_rounding(head: Label) -> Label:
    return Label(ROUNDING, head.layer, head.index, f"{head} ← rounding", parent=head)


def layouts(v: Shaped[Tensor, "..."], shape: Sequence[int]) -> Iterator["_Grouped"]:
    """The axes that values, queries or keys may have at their hook: a row for each position and group.

    Args:
        v: What the hook shows, the groups first or last.
        shape: Of one row for each position and head: `[batch pos head d_head]`.
    """
    batch, width, heads, d_head = shape
    # With grouped queries there are fewer values than heads; how many is read off the number of entries.
    groups, rest = divmod(v.numel(), batch * width * d_head)
    if rest or groups == 0 or heads % groups:
        return
    yield _Grouped(groups, d_head, False)
    if v.ndim == 4 and v.shape[1] == groups:
        yield _Grouped(groups, d_head, True)


@final
@dataclass(frozen=True)
class _Grouped:
    """Values as `[batch source group d_head]`, however the hook shows them."""

    groups: int
    d_head: int
    groups_first: bool

    def __call__(self, v: Shaped[Tensor, "..."]) -> Float[Tensor, "batch source group d_head"]:
        v = v.transpose(1, 2) if self.groups_first else v  # [batch group source d_head] -> [batch source group d_head]
        return v.reshape(v.shape[0], -1, self.groups, self.d_head)


def _bias(path: str, module: nn.Module, recording: Recording, v: Site) -> Float[Tensor, "group d_head"] | None:
    """The value bias; None if the values are not the attention's input times `W_V` plus a bias."""
    b_V, entered = tensor_of(module, "b_V"), recording.inputs.get(path)
    if tensor_of(module, "W_V") is None or b_V is None or entered is None or b_V.numel() == 0:
        return None
    # With `use_split_qkv_input` each head has an input of its own, and all are the same.
    linear = projection(module, recording, v, entered[:, :, 0] if entered.ndim == 4 else entered, "V")
    if linear is None or linear.bias is None or not bool(linear.bias.any()):
        return None
    return linear.bias.reshape(recording.read(v).shape[2:])


def projection(
    module: nn.Module, recording: Recording, made: Site, entered: Float[Tensor, "batch pos d_model"], kind: str
) -> Linear | None:
    """How values, queries or keys are made of what enters the attention; None if not by a matrix and a bias.

    Args:
        module: The attention.
        recording: What was seen.
        made: Where they are read.
        entered: What entered the attention.
        kind: "V", "Q" or "K", as in `W_V`.
    """
    W, b, shown = tensor_of(module, f"W_{kind}"), tensor_of(module, f"b_{kind}"), recording.read(made)
    (groups, d_head), d_model = shown.shape[2:], entered.shape[-1]
    share, rest = (0, 1) if W is None else divmod(W.numel(), d_model * groups * d_head)
    if W is None or share == 0 or rest or (b is not None and b.numel() not in (0, share * groups * d_head)):
        return None
    # HookedTransformer repeats the weight of a group for each of its heads.
    # [head d_model d_head] -> [d_model group * d_head], one head of each group
    weight = W.detach().reshape(-1, d_model, d_head)[::share].transpose(0, 1).flatten(1)
    bias = None if b is None or b.numel() == 0 else b.reshape(-1, d_head)[::share].flatten()
    for linear in _maps(module, Linear(weight, bias, W.dtype), f"hook_{kind.lower()}"):
        step, activations = linear.product(MODULE_INPUT), {MODULE_INPUT: widened(entered)}
        if explained(step, activations, shown.flatten(2), entered.dtype, linear.dtype) is not None:
            return linear
    return None


def _maps(module: nn.Module, shown: Linear, hook: str) -> Iterator[Linear]:
    """How they may be made: by the weight that is shown, or by what the module that makes them computes."""
    yield shown
    computing = writer_of(module, hook)
    computed = None if computing is None else linear_from_unit_vectors(computing, shown.weight.shape[0])
    if computed is not None and computed.weight.shape == shown.weight.shape:
        yield with_update(computed, shown)


def heads_in(
    module: nn.Module, z: Shaped[Tensor, "..."], pattern: Shaped[Tensor, "..."] | None
) -> tuple[int, int] | None:
    """How many heads there are, and how wide they are: by `W_O`, or by the pattern where no weight is shown."""
    W_O, width = tensor_of(module, "W_O"), z.shape[2:].numel()
    if W_O is not None:
        fits = W_O.ndim == 3 and width == W_O.shape[0] * W_O.shape[1]
        return (W_O.shape[0], W_O.shape[1]) if fits else None
    heads = 0 if pattern is None or pattern.ndim != 4 else pattern.shape[1]
    return (heads, width // heads) if heads and width % heads == 0 else None


@final
@dataclass(frozen=True)
class Unflatten:
    """`z` with an axis for heads, also where the hook shows all heads in one row."""

    n_heads: int
    d_head: int

    def __call__(self, z: Float[Tensor, "batch pos ..."]) -> Float[Tensor, "batch pos head d_head"]:
        return z.reshape(*z.shape[:2], self.n_heads, self.d_head)

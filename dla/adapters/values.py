"""What attention heads read, recognised: the pattern and the values that add up to `z`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dla.adapters.anatomy import Values
from dla.adapters.probe import Probe
from dla.adapters.recognise import Judge, tensor_of
from dla.sites import Site


def recognise_values(
    path: str, module: nn.Module, probe: Probe, judge: Judge, z: Float[Tensor, "batch pos head d_head"]
) -> Values | None:
    """The pattern and values of the attention at `path`; None where they do not add up to `z`.

    Args:
        path: The attention's, such as "blocks.0.attn".
        module: The attention.
        probe: What was seen.
        judge: What counts as the same.
        z: What the heads made of it.
    """
    names = [f"{path}.hook_pattern", f"{path}.hook_v"]
    if any(name not in probe.hooks or name in probe.repeated for name in names):
        return None
    pattern, v = (probe.hooks[name] for name in names)
    if pattern.shape != (z.shape[0], z.shape[2], z.shape[1], z.shape[1]):
        return None
    for read in _layouts(v, z):
        grouped = read(v)
        carried = grouped.repeat_interleave(z.shape[2] // grouped.shape[2], 2)
        if judge.same(torch.einsum("bhqs,bshd->bqhd", pattern, carried), z):
            b_V = _bias(path, module, probe, judge, grouped)
            return Values(Site(names[0], 2), Site(names[1], None, read), b_V)
    return None


def _layouts(v: Tensor, z: Float[Tensor, "batch pos head d_head"]) -> Iterator["_Grouped"]:
    """Ways in which a hook may show one row of values a source and group."""
    batch, width, heads, d_head = z.shape
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

    def __call__(self, v: Tensor) -> Float[Tensor, "batch source group d_head"]:
        v = v.transpose(1, 2) if self.groups_first else v
        return v.reshape(v.shape[0], -1, self.groups, self.d_head)


def _bias(
    path: str, module: nn.Module, probe: Probe, judge: Judge, v: Float[Tensor, "batch source group d_head"]
) -> Float[Tensor, "group d_head"] | None:
    """The value bias, if what went into the attention times `W_V`, and this bias, is what the values are."""
    W_V, b_V, entered = tensor_of(module, "W_V"), tensor_of(module, "b_V"), probe.inputs.get(path)
    if W_V is None or b_V is None or entered is None or b_V.numel() == 0:
        return None
    entered = entered[:, :, 0] if entered.ndim == 4 else entered  # split inputs: each head is shown the same
    groups, d_head = v.shape[2:]
    if W_V.numel() != entered.shape[-1] * b_V.numel() or b_V.numel() % (groups * d_head):
        return None
    weight = W_V.detach().cpu().double().reshape(-1, entered.shape[-1], d_head)
    bias = b_V.detach().cpu().double().reshape(-1, d_head)
    share = len(bias) // groups
    found = torch.einsum("bsm,hmd->bshd", entered, weight) + bias
    if not judge.same(found[:, :, ::share], v):
        return None
    same: Tensor = b_V.reshape(-1, d_head)[::share]
    return same if bool(same.abs().max() > 0) else None

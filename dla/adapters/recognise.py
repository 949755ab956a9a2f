"""Recognising what a model is made of from what its hooks showed, never from its name.

Each finding is a hypothesis checked against the probe: a norm is a norm because `weight * C(x) / scale + bias`
reproduces its output; heads are heads because `Σ z @ W_O + b_O` reproduces the sublayer's output; a block adds what,
added to the stream before it, gives the stream after it.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dla.adapters.probe import Probe
from dla.routes import Norm
from dla.sites import Site

MOST_SUBLAYERS = 4
_COEFFICIENT_SLACK = 50.0


@final
@dataclass(frozen=True)
class Judge:
    """Decides whether two measured tensors are the same, up to the model's own rounding.

    Attributes:
        slack: The largest difference allowed, relative to the larger tensor's largest entry.
    """

    slack: float

    def same(self, left: Tensor, right: Tensor) -> bool:
        """Whether the two have one shape and differ by rounding only."""
        if left.shape != right.shape or not left.is_floating_point():
            return False
        size = max(left.abs().max().item(), right.abs().max().item())
        return bool((left - right).abs().max() <= self.slack * size)


@final
@dataclass(frozen=True)
class Mix:
    """`after = carry * before + Σ factor * part`: how a block's output is made.

    Attributes:
        carry: What the block multiplies the incoming stream by; 1 in nearly all models.
        factors: The multiplier of each part, by hook name.
    """

    carry: float
    factors: dict[str, float]


def tensor_of(module: nn.Module, *names: str) -> Tensor | None:
    """The first of several attributes that is a tensor. TransformerLens raises various errors where there is none."""
    for name in names:
        try:
            value = getattr(module, name)
        except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError, AssertionError):
            continue
        if isinstance(value, Tensor):
            return value
    return None


def recognise_norm(path: str, module: nn.Module, probe: Probe, judge: Judge, centred_first: bool) -> Norm | None:
    """The norm at `path`, or None if what it does is not a LayerNorm or RMSNorm given its scale."""
    before, after = probe.inputs.get(path), probe.outputs.get(path)
    if before is None or after is None or before.shape != after.shape:
        return None
    weight, bias = tensor_of(module, "w", "weight"), tensor_of(module, "b", "bias")
    weights = [weight, None] if weight is None else [weight, 1 + weight.detach(), None]
    order = (True, False) if centred_first else (False, True)
    for site, centred in itertools.product(_scale_sites(path, module, probe), order):
        scale = site.read(probe.hooks[site.name])
        for w, b in itertools.product(weights, [bias, None] if bias is not None else [None]):
            if _usable(w, before) and _usable(b, before):
                norm = Norm(site, w, b, centred)
                guess = norm.push_forward(before, scale) + (0.0 if b is None else b.detach().cpu().double())
                if judge.same(guess, after):
                    return replace(norm, eps=_known_eps(norm, module, before, scale, judge))
    return None


def recognise_mix(
    before: Tensor, after: Tensor, parts: dict[str, Tensor], likely: Sequence[Sequence[str]], judge: Judge
) -> Mix | None:
    """Which parts, added to the stream before a block, give the stream after it; None if no few of them do.

    Args:
        before: The stream that enters the block.
        after: The stream that leaves it.
        parts: What might be added, by hook name, preferred names first.
        likely: Combinations to try before all others.
        judge: What counts as the same.
    """
    names = list(parts)
    sizes = range(1, min(MOST_SUBLAYERS, len(names)) + 1)
    everything = itertools.chain.from_iterable(itertools.combinations(names, size) for size in sizes)
    for combination in itertools.chain((c for c in likely if all(n in parts for n in c)), everything):
        mix = _mix(before, after, combination, [parts[name] for name in combination], judge)
        if mix is not None:
            return mix
    return None


def constant_factor(before: Tensor, after: Tensor, judge: Judge) -> float | None:
    """The constant by which one tensor is multiplied to give another; None if there is none."""
    if before.shape != after.shape:
        return None
    if judge.same(before, after):
        return 1.0
    factor = float((before * after).sum() / before.pow(2).sum())
    return factor if judge.same(factor * before, after) else None


def distinct(parts: Iterable[tuple[str, Tensor | None]], like: Tensor, judge: Judge) -> dict[str, Tensor]:
    """The tensors shaped like the stream, each value once, under the first of its names."""
    found: dict[str, Tensor] = {}
    for name, value in parts:
        value = like_stream(value, like)
        if value is not None and value.shape == like.shape and not any(judge.same(value, v) for v in found.values()):
            found[name] = value
    return found


def like_stream(value: Tensor | None, stream: Tensor) -> Tensor | None:
    """A tensor with batch and position on axes of their own, if that makes it one row a token; else None."""
    if value is None or value.ndim < 2:
        return None
    if value.shape[:2] == stream.shape[:2] and value.ndim > 2:
        return value
    flat = value.ndim == 2 and value.shape[0] == stream.shape[0] * stream.shape[1]
    return value.unflatten(0, stream.shape[:2]) if flat else None


def sum_of_parts(
    activation: Float[Tensor, "batch pos part d_in"], weight: Float[Tensor, "part d_in d_model"], bias: Tensor | None
) -> Float[Tensor, "batch pos d_model"]:
    """What the parts and the bias add up to."""
    total = torch.einsum("bphi,hid->bpd", activation, weight.detach().cpu().double())
    return total if bias is None else total + bias.detach().cpu().double()


def _mix(before: Tensor, after: Tensor, names: Sequence[str], parts: list[Tensor], judge: Judge) -> Mix | None:
    columns = torch.stack([before, *parts], -1).flatten(0, -2)
    plain = torch.ones(len(parts) + 1, dtype=columns.dtype, device=columns.device)
    if not judge.same(columns @ plain, after.flatten()):
        plain = torch.linalg.lstsq(columns, after.flatten().unsqueeze(-1)).solution.squeeze(-1)
        near_one = (plain - 1).abs() < _COEFFICIENT_SLACK * judge.slack
        plain = torch.where(near_one, torch.ones_like(plain), plain)
        if not judge.same(columns @ plain, after.flatten()):
            return None
    weight = plain.abs() * columns.abs().amax(0)
    if bool((weight[1:] <= judge.slack * after.abs().max()).any()):
        return None
    carry, *factors = (float(c) for c in plain)
    if abs(carry) * columns[:, 0].abs().max() <= judge.slack * after.abs().max():
        return None  # the block replaces the stream (a norm on it), so what came before is not carried by a constant
    return Mix(carry, dict(zip(names, factors, strict=True)))


def _scale_sites(path: str, module: nn.Module, probe: Probe) -> list[Site]:
    """Where a norm's scale may be read: at its hook, else computed from its input."""
    sites = []
    if f"{path}.hook_scale" in probe.hooks and probe.hooks[f"{path}.hook_scale"].shape[-1] == 1:
        sites.append(Site(f"{path}.hook_scale", read=_squeeze_last))
    if f"{path}.hook_in" in probe.hooks:
        eps = next((float(e) for e in (_eps(module, n) for n in ("eps", "variance_epsilon")) if e is not None), 0.0)
        sites += [Site(f"{path}.hook_in", read=_ScaleOf(eps, centred)) for centred in (True, False)]
    return sites


def _known_eps(norm: Norm, module: nn.Module, before: Tensor, scale: Tensor, judge: Judge) -> float | None:
    """The `eps` with which the norm finds the scale that was seen."""
    found = (_eps(module, name) for name in ("eps", "variance_epsilon"))
    tried = [eps for eps in (*found, 0.0) if eps is not None]
    return next((eps for eps in tried if judge.same(replace(norm, eps=eps).scale_of(before), scale)), None)


def _eps(module: nn.Module, name: str) -> float | None:
    value = getattr(getattr(module, "original_component", module), name, None)
    return float(value) if isinstance(value, int | float) else None


def _squeeze_last(scale: Tensor) -> Tensor:
    return scale.squeeze(-1)


@final
@dataclass(frozen=True)
class _ScaleOf:
    """The scale of a norm, from its input."""

    eps: float
    centred: bool

    def __call__(self, x: Tensor) -> Tensor:
        x = x if x.dtype == torch.float64 else x.float()
        x = x - x.mean(-1, keepdim=True) if self.centred else x
        return (x.pow(2).mean(-1) + self.eps).sqrt()


def _usable(weight: Tensor | None, x: Tensor) -> bool:
    return weight is None or weight.shape == x.shape[-1:]

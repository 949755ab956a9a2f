"""Rows of an attribution computed from a plain `run_with_cache`, without the library, to compare with.

Everything is in float64. Heads are `z @ W_O`. What a norm or a multiplier does is fitted to what went in and what came
out, not read from the model's weights, so that a mistake about the weights cannot be made here as well.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

_SAME = 1e-5
"""How far two tensors may differ, relative to the largest entry, and still be called the same."""

_Stream = Float[Tensor, "batch pos d_model"]

_UNREADABLE = (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError, AssertionError)


@final
@dataclass(frozen=True, eq=False)
class CacheRows:
    """One run of a model, as its rows are computed from.

    Attributes:
        vectors: What a part adds to the stream that enters the final norm, by its label: heads, sublayers, blocks,
            and the stream at each place of the layer rows. Some may be missing.
        slope: What the final norm, its scale frozen, multiplies each coordinate of the (centred) stream by.
        centred: Whether the final norm centres.
        W_U: The unembedding.
        unembedded: The logits before the output transform.
        logits: The logits that the model returned.
    """

    vectors: Mapping[str, _Stream]
    slope: _Stream
    centred: bool
    W_U: Float[Tensor, "d_model d_vocab"]
    unembedded: Float[Tensor, "batch pos d_vocab"]
    logits: Float[Tensor, "batch pos d_vocab"]

    def row(self, label: str, ids: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos"]:
        """The contribution of one part to a token's logit, the token given for each position."""
        vector = self.vectors[label]
        vector = vector - vector.mean(-1, keepdim=True) if self.centred else vector
        columns = self.W_U[:, ids].movedim(0, -1)
        total: Tensor = (vector * self.slope * columns).sum(-1)
        return total


def rows_from_cache(model: Any, tokens: Int[Tensor, "batch pos"]) -> CacheRows:
    """Runs a model once with its own `run_with_cache`.

    Args:
        model: A `HookedTransformer` or a `TransformerBridge`, in float32 or float64.
        tokens: Token ids, all real; sixteen or more, or a norm cannot be fitted to what it did.

    Raises:
        ValueError: If the final norm did something else than a LayerNorm or RMSNorm does.
    """
    with torch.no_grad():
        logits, cache = model.run_with_cache(tokens)
    seen = _Cache(cache, *tokens.shape)
    entered, left = seen.final(), seen.stream("unembed.hook_in")
    norm = None if model.cfg.normalization_type is None or left is None else _fit_norm(entered, left, _shifts(model))
    if left is None or (norm is None and not _same(entered, left)):
        raise ValueError(f"What is unembedded is no norm of the last stream, up to rounding ({_SAME:.0e}).")
    slope, centred = norm if norm is not None else (torch.ones_like(left), False)
    return CacheRows(
        vectors=dict(_parts(model, seen)),
        slope=slope,
        centred=centred,
        W_U=model.unembed.W_U.detach().double(),
        unembedded=cache["unembed.hook_out"].detach().double(),
        logits=logits.detach().double(),
    )


@final
@dataclass(frozen=True, eq=False)
class _Cache:
    """The activations of one run, in float64."""

    cache: Any
    batch: int
    width: int

    def shown(self, name: str) -> Float[Tensor, "..."] | None:
        """The activation; None if there is none."""
        if name not in self.cache:
            return None
        value = self.cache[name]
        return value.detach().double() if isinstance(value, Tensor) and value.is_floating_point() else None

    def stream(self, name: str) -> _Stream | None:
        """An activation of the residual stream's shape; None if the hook shows none."""
        value, like = self.shown(name), self.cache["blocks.0.hook_resid_post"]
        if value is None or value.numel() != like.numel() or value.shape[-1] != like.shape[-1]:
            return None
        return value.reshape(like.shape)

    def final(self) -> _Stream:
        """What enters the final norm."""
        name = max((k for k in self.cache if k.endswith("hook_resid_post")), key=lambda k: int(k.split(".")[1]))
        last, entered = self.stream(name), self.stream("ln_final.hook_in")
        value = last if entered is None else entered
        assert value is not None
        return value


def _parts(model: Any, seen: _Cache) -> Iterator[tuple[str, _Stream]]:
    """Every part that is found, from the last block to the first, in the units of the final stream."""
    after, onward = seen.final(), 1.0
    yield "final_post", after
    for i in reversed(range(len(model.blocks))):
        before, post = seen.stream(f"blocks.{i}.hook_resid_pre"), seen.stream(f"blocks.{i}.hook_resid_post")
        assert before is not None
        assert post is not None
        leaving = onward * _factor(post, after)
        carry, factors = _mix(seen, i, before, post)
        for name, factor in factors.items():
            added = seen.stream(name)
            assert added is not None
            yield f"{i}_{_kind(name)}", leaving * factor * added
            yield from _heads(model.blocks[i], seen, i, added, leaving * factor)
        if not factors:
            yield f"{i}_block", leaving * (post - before)
        mid = seen.stream(f"blocks.{i}.hook_resid_mid")
        if mid is not None:
            yield f"{i}_mid", leaving * mid
        onward, after = leaving * carry, before
        yield f"{i}_pre", onward * before


def _heads(block: Any, seen: _Cache, i: int, added: _Stream, factor: float) -> Iterator[tuple[str, _Stream]]:
    """The heads whose sum is `added`, as it stands or through an RMSNorm."""
    for child, module in block.named_children():
        z, W_O, b_O = seen.shown(f"blocks.{i}.{child}.hook_z"), _weight(module, "W_O"), _weight(module, "b_O")
        pattern = seen.shown(f"blocks.{i}.{child}.hook_pattern")
        W_O = _linear(module, pattern.shape[1]) if W_O is None and pattern is not None else W_O
        if z is None or W_O is None or W_O.ndim != 3 or z.numel() % (W_O.shape[0] * W_O.shape[1]):
            continue
        z = z.reshape(seen.batch, seen.width, *W_O.shape[:2])
        heads = torch.einsum("bphi,hid->hbpd", z, W_O)
        output = heads.sum(0) if b_O is None else heads.sum(0) + b_O
        slope = _slope(output, added)
        if slope is not None:
            yield from ((f"L{i}H{h}", factor * slope * head) for h, head in enumerate(heads))
            yield f"{i}_b_O", factor * slope * (torch.zeros_like(output[0, 0]) if b_O is None else b_O)


def _slope(output: _Stream, added: _Stream) -> _Stream | None:
    """What each coordinate of a sublayer's output is multiplied by before it is added; None if that is no constant."""
    constant = _factor(output, added)
    if _same(constant * output, added):
        return torch.full_like(added, constant)
    norm = _fit_norm(output, added, False, biased=False)
    return None if norm is None else norm[0]


def _mix(seen: _Cache, i: int, before: _Stream, after: _Stream) -> tuple[float, dict[str, float]]:
    """The fewest parts that give `after = carry * before + Σ factor * part`; none if no four do."""
    own = [f"blocks.{i}.hook_attn_out", f"blocks.{i}.hook_mlp_out"]
    children = [n for n in seen.cache if n.startswith(f"blocks.{i}.") and n.endswith(".hook_out") and n.count(".") == 3]
    parts: dict[str, Tensor] = {}
    for name in (*own, *children):
        value = seen.stream(name)
        if value is not None and not any(_same(value, other) for other in (before, *parts.values())):
            parts[name] = value
    likely = [[name for name in own if name in parts]]
    for names in itertools.chain(likely, *(itertools.combinations(parts, n) for n in (1, 2, 3, 4))):
        columns = torch.stack([before, *(parts[name] for name in names)], -1).flatten(0, -2)
        solution = torch.linalg.lstsq(columns, after.flatten().unsqueeze(-1)).solution.squeeze(-1)
        used = bool((solution.abs() * columns.abs().amax(0) > _SAME * after.abs().max()).all())
        if names and used and _same(columns @ solution, after.flatten()):
            carry, *factors = (1.0 if abs(c - 1) < 1e-4 else c for c in solution.tolist())
            return carry, dict(zip(names, factors, strict=True))
    return 1.0, {}


def _fit_norm(before: _Stream, after: _Stream, centres: bool, biased: bool = True) -> tuple[_Stream, bool] | None:
    """What a norm with a frozen scale did: `after = slope * C(before) + bias`; None if no norm did it.

    The slope is a weight per coordinate times a scale per token. They are fitted in turn, eight times: least squares
    for both at once is not linear.

    Args:
        before: What entered the norm.
        after: What left it.
        centres: Whether it is known to centre.
        biased: Whether a bias is looked for as well.
    """
    x = before - before.mean(-1, keepdim=True) if centres else before
    x, y = x.flatten(0, 1), after.flatten(0, 1)
    for with_bias in (False, True) if biased else (False,):
        scale = x.pow(2).mean(-1, keepdim=True).rsqrt()
        for _ in range(8):
            u = scale * x
            shift, mean = (u.mean(0), y.mean(0)) if with_bias else (torch.zeros_like(u[0]), torch.zeros_like(y[0]))
            weight = ((u - shift) * (y - mean)).sum(0) / (u - shift).pow(2).sum(0)
            bias, v = mean - weight * shift, weight * x
            scale = (v * (y - bias)).sum(-1, keepdim=True) / v.pow(2).sum(-1, keepdim=True)
        if _same(scale * weight * x + bias, y):
            return (scale * weight).reshape(before.shape), centres
    return None


def _shifts(model: Any) -> bool:
    """Whether the final norm's output stays the same when a constant is added to its input: whether it centres."""
    weights = next(iter(model.unembed.parameters()))
    x = torch.randn(1, 4, model.cfg.d_model, dtype=weights.dtype, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return bool((model.ln_final(x) - model.ln_final(x + 1)).abs().max() < 1e-3)


def _factor(before: _Stream, after: _Stream) -> float:
    """The constant between what leaves one place and what enters the next."""
    factor = float((before * after).sum() / before.pow(2).sum())
    return 1.0 if abs(factor - 1) < 1e-6 else factor


def _kind(name: str) -> str:
    last = name.split(".", 2)[2]
    return last.removeprefix("hook_") if last.startswith("hook_") else f"{last.split('.')[0]}_out"


def _weight(module: Any, name: str) -> Float[Tensor, "..."] | None:
    # TransformerLens raises one of several errors where a module has no such weight
    try:
        value = getattr(module, name)
    except _UNREADABLE:
        return None
    return value.detach().double() if isinstance(value, Tensor) else None


def _linear(module: Any, heads: int) -> Float[Tensor, "head d_head d_model"] | None:
    """`W_O` from the linear layer behind it, where TransformerLens does not give it by head."""
    output = module._modules.get("o")
    weight = None if output is None else _weight(output, "weight")
    fits = weight is not None and weight.ndim == 2 and weight.shape[1] % heads == 0
    return weight.T.unflatten(0, (heads, -1)) if weight is not None and fits else None


def _same(left: Shaped[Tensor, "..."], right: Shaped[Tensor, "..."]) -> bool:
    size = max(left.abs().max().item(), right.abs().max().item())
    return left.shape == right.shape and bool((left - right).abs().max() <= _SAME * size)

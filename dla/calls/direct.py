"""The one-call form, with the signature, labels and refusals of TransformerLens' `direct_logit_attribution`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters import in_compatibility_mode
from dla.attributor import Attributor
from dla.decomposers import ComponentDecomposer, Decomposer, HeadDecomposer, LayerDecomposer
from dla.directions import Direction, Logit, LogitDifference, Tokens, read_tokens
from dla.engine.caches import read_cache, read_prompts_or_cache
from dla.inputs.given import Count, count, items, shown, whole_number
from dla.inputs.positions import Position
from dla.inputs.prompts import Text
from dla.results.attribution import Attribution

UNITS: dict[str, Callable[[], Decomposer]] = {
    "component": ComponentDecomposer,
    "layer": LayerDecomposer,
    "head": HeadDecomposer,
}


@final
@dataclass(frozen=True, eq=False)
class DirectLogitAttribution:
    """What `direct_logit_attribution` returns; the names are TransformerLens'.

    Attributes:
        attribution: The contributions in logits, the first axis aligned with `labels`.
        labels: `embed`, `0_attn_out`, `L9H6`, `remainder`, `0_pre`, ...
        unit: "component", "layer" or "head".
        result: The same with its proof: total, constant, the model's own logit, the gap.
    """

    attribution: Float[Tensor, "component *batch_and_pos"]
    labels: list[str]
    unit: str
    result: Attribution

    def top(self, k: Count = 5) -> list[tuple[str, float]]:
        """The `k` largest, averaged over prompts and positions, as `(label, value)`."""
        means = self.attribution.flatten(1).nanmean(-1) if self.attribution.ndim > 1 else self.attribution
        values, indices = means.topk(min(count(k, "k", "parts", least=0), len(self.labels)))
        return [(self.labels[i], value) for i, value in zip(indices.tolist(), values.tolist(), strict=True)]

    def __repr__(self) -> str:
        return f"DirectLogitAttribution({self.unit!r}: {self.result!r})"

    def _repr_html_(self) -> str:
        return self.result._repr_html_()


def direct_logit_attribution(
    model: Any,
    input: Text | Tensor | None = None,
    answer_tokens: Tokens | None = None,
    incorrect_tokens: Tokens | None = None,
    *,
    unit: str = "component",
    pos: Any = -1,
    cache: Any = None,
) -> DirectLogitAttribution:
    """Splits a logit, or a difference of two, into the contributions of a model's parts.

    Args:
        model: A `HookedTransformer`, or a `TransformerBridge` in compatibility mode (`Attributor` takes raw ones too).
        input: A prompt, a list of prompts, or token ids. May be left out where a cache is given.
        answer_tokens: The token, as text, id, a list or a tensor `[batch]`, or a tensor `[batch pos]`.
        incorrect_tokens: The token to compare with, of the same shape; None attributes the logit itself.
        unit: "component" (embeddings and sublayers), "head" (heads, and all else as `remainder`), or "layer" (the
            stream as it grows, on the final norm's frozen scale).
        pos: An int, a `(start, stop)` pair, a list of positions, or None for all.
        cache: An `ActivationCache` of the prompts, to use instead of running the model.

    Raises:
        ValueError: If the unit is unknown, an argument is missing or does not fit, or a bridge is raw.
        ReconstructionError: If the parts do not add up to the model's own logit.
    """
    decomposer = _decomposer(unit)
    if answer_tokens is None:
        raise ValueError("answer_tokens is required: pass the token whose logit is to be attributed.")
    if input is None and cache is None:
        raise ValueError("Provide either `input` to run the model, or a precomputed `cache`.")
    if not in_compatibility_mode(model):
        raise ValueError(
            "This TransformerBridge is not in compatibility mode. Call model.enable_compatibility_mode() first, or "
            "use dla.Attributor, which attributes a raw bridge exactly."
        )
    attributor, pos = Attributor(model, decomposer), _position(pos)
    cache = read_cache(attributor.model, cache)
    read = read_prompts_or_cache(attributor.model, input, cache, None, None)
    direction = _direction(answer_tokens, incorrect_tokens, pos, read.batch)
    result = attributor.attribute(read if read.known else None, direction, pos=pos, cache=cache)
    values, labels = (_with_remainder(result)) if unit == "head" else (result.values, result.labels)
    return DirectLogitAttribution(values, labels, unit, result)


def _decomposer(unit: object) -> Decomposer:
    if not isinstance(unit, str) or unit not in UNITS:
        raise ValueError(f"unit must be one of {tuple(UNITS)}, got {shown(unit)}.")
    return UNITS[unit]()


def _direction(answer: Tokens, incorrect: Tokens | None, pos: Position, batch: int) -> Direction:
    if incorrect is None:
        return Logit(_tokens(answer, pos, batch))
    shapes = [list(t.shape) if isinstance(t, Tensor) else [] for t in map(read_tokens, (answer, incorrect))]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"answer_tokens have shape {shapes[0]} and incorrect_tokens {shapes[1]}; they must be the same."
        )
    return LogitDifference(_tokens(answer, pos, batch), _tokens(incorrect, pos, batch))


def _tokens(tokens: Tokens, pos: Position, batch: int) -> Tokens:
    """TransformerLens takes a tensor of one id for every prompt, and with one prompt `[pos]` ids a position each."""
    read = read_tokens(tokens)
    if not isinstance(read, Tensor):
        return read
    if read.numel() == 1:
        return int(read)
    if read.ndim == 1 and whole_number(pos) is None:
        if batch > 1:
            raise ValueError(
                f"answer_tokens of shape {list(read.shape)} with several prompts and several positions could mean "
                "one a prompt or one a position. Pass shape [batch, pos]."
            )
        return read[None]
    return read


def _position(pos: Any) -> Any:
    """TransformerLens' ways to say positions: an int, a `(start, stop)` pair, a list or array, a Slice, or None."""
    pos = getattr(pos, "slice", pos)
    if not isinstance(pos, tuple):
        several = items(pos)
        return pos if several is None else several  # an array, too, has the same positions of every prompt here
    if not 1 <= len(pos) <= 3:
        raise ValueError(f"pos={shown(pos)}: a tuple is the start and the stop of a slice. Pass a list of positions.")
    return slice(*pos)


def _with_remainder(result: Attribution) -> tuple[Tensor, list[str]]:
    """The heads, then everything that no head wrote, each from its own activation, as one row."""
    of_heads = torch.tensor([part.kind == "head" for part in result.parts], device="cpu")
    rest = result.values[~of_heads].sum(0, keepdim=True)
    labels = [str(part) for part in result.parts if part.kind == "head"]
    return torch.cat([result.values[of_heads], rest]), [*labels, "remainder"]

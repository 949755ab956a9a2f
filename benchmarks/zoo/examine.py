"""The verdict on one architecture, mode and unit."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, final

import torch
from torch import Tensor

import dla
from benchmarks.zoo.cache_rows import CacheRows, rows_from_cache
from benchmarks.zoo.subjects import LINE, Subject
from benchmarks.zoo.traced import SCORES, Traced, gap_traced_back, scored, traced
from dla.testing.models import VOCABULARY_SIZE

LIMIT = 1e-5
"""The largest error that is called exact, in standard deviations of the logits."""

UNITS: dict[str, dla.Decomposer] = {
    "component": dla.ComponentDecomposer(),
    "head": dla.HeadDecomposer(),
    "layer": dla.LayerDecomposer(),
}

UNWARNED = (("bridge", "falcon-new", "compatibility"),)
"""Where compatibility mode changes the model and nothing that can be looked at shows it.

TransformerLens splits this model's queries, keys and values wrongly. The raw bridge is refused, since the attention
module differs from Hugging Face's; compatibility mode rewrites the weights of both, so that there is no witness left.
"""

Verdict = Literal["exact", "changed", "refused", "broken", "error", "WRONG"]
"""Exact; exact for the model that runs, which is not the checkpoint, and nobody said so; refused with a reason;
TransformerLens itself fails; another error than ours; a wrong number."""

GOOD: tuple[Verdict, ...] = ("exact", "changed", "refused", "broken")


@final
@dataclass(frozen=True)
class Cell:
    """What became of one architecture, mode and unit.

    Attributes:
        family: "bridge" or "hooked".
        name: The architecture's name in the catalogue.
        mode: How the model was prepared.
        unit: "component", "head" or "layer".
        line: The major version of TransformerLens.
        verdict: What became of it.
        gap: The largest error of anything that was compared, in standard deviations of the logits.
        reason: Of a refusal, an error or a wrong number.
        departs: How far the log-probabilities are from the model's before it was rewritten.
        warned: Whether a `ModelMismatchWarning` was given.
        kinds: The kinds of rows.
        unchecked: How many rows of heads had nothing to be compared with.
        traced: Through which of its sublayers a logit is followed back, by kind, and the scores of which heads are.
    """

    family: str
    name: str
    mode: str
    unit: str
    line: int
    verdict: Verdict
    gap: float | None = None
    reason: str = ""
    departs: float | None = None
    warned: bool = False
    kinds: tuple[str, ...] = ()
    unchecked: int = 0
    traced: Mapping[str, Traced] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether the law holds: exact, or an error that says why."""
        return self.verdict in GOOD

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@final
@dataclass(frozen=True, eq=False)
class _Truth:
    """What is known of a model without the library.

    Attributes:
        own: The logits that an attribution must come to.
        original: Those from before the model was rewritten.
        rows: Rows found independently; None where the stream cannot be read that way.
    """

    own: Tensor
    original: Tensor
    rows: CacheRows | None

    @property
    def departs(self) -> float:
        """How far the log-probabilities are from the original's."""
        difference = self.own.log_softmax(-1) - self.original.log_softmax(-1)
        return float(difference.abs().max() / self.original.std())


def some_tokens() -> Tensor:
    """Two prompts of twelve words."""
    return torch.randint(4, VOCABULARY_SIZE, (2, 12), generator=torch.Generator().manual_seed(11))


def examine(subject: Subject, units: tuple[str, ...] = tuple(UNITS)) -> list[Cell]:
    """One cell for each unit.

    Args:
        subject: The architecture and mode.
        units: Names of `UNITS`.
    """
    tokens = some_tokens()
    model = None
    try:
        model = subject.model()
        with torch.no_grad():
            plain = model(tokens)
    except Exception as error:  # whatever TransformerLens raises on a model that it cannot load or run
        if model is None or subject.decoder:
            reason = f"{type(error).__name__}: {error}".split("\n")[0]
            return [_cell(subject, unit, "broken", reason=reason) for unit in units]
        plain = None
    truth = None if plain is None else _truth(subject, model, tokens, plain)
    return [_examine(subject, unit, model, tokens, truth) for unit in units]


def _truth(subject: Subject, model: Any, tokens: Tensor, plain: Tensor) -> _Truth | None:
    try:
        original = subject.original(tokens)
    except Exception:  # an encoder-decoder needs more than tokens; a decoder's truth is always there
        return None
    own = original if subject.kept else plain
    if own.shape != plain.shape:
        return None
    try:
        rows = rows_from_cache(model, tokens)
    except (ValueError, KeyError, AssertionError, RuntimeError):  # no one stream; the sums are compared all the same
        rows = None
    return _Truth(own.double(), original.double(), rows)


def _examine(subject: Subject, unit: str, model: Any, tokens: Tensor, truth: _Truth | None) -> Cell:
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            attributor = dla.Attributor(model, UNITS[unit])
        warned = any(issubclass(w.category, dla.ModelMismatchWarning) for w in caught)
        if truth is None:
            return _cell(subject, unit, "WRONG", reason="attributed, although it is not a decoder of tokens")
        ids = torch.randint(truth.own.shape[-1], (2, *tokens.shape), generator=torch.Generator().manual_seed(5))
        single = attributor.attribute(tokens, dla.Logit(ids[0]), pos=None)
        pair = attributor.attribute(tokens, dla.LogitDifference(ids[0], ids[1]), pos=None)
    except dla.UnsupportedModelError as error:
        return _cell(subject, unit, "refused", reason=str(error))
    except Exception as error:  # the law allows an error, but only an UnsupportedModelError is meant
        return _cell(subject, unit, "error", reason=f"{type(error).__name__}: {error}")
    errors, unchecked = _errors(single, pair, ids, truth)
    errors["the sum traced back"] = _largest(gap_traced_back(pair, model), truth)
    scores, errors["an attention score"] = scored(pair)
    worst = max(errors, key=lambda what: errors[what])
    verdict = _verdict(subject, errors[worst], warned, truth.departs)
    return _cell(
        subject,
        unit,
        verdict,
        gap=errors[worst],
        reason="" if verdict != "WRONG" else f"{worst} off by {errors[worst]:.1e}; departs by {truth.departs:.1e}",
        departs=truth.departs,
        warned=warned,
        kinds=tuple(dict.fromkeys(part.kind for part in single.parts)),
        unchecked=unchecked,
        traced=traced(model) | ({SCORES: scores} if scores else {}) if unit == "head" else {},
    )


def _verdict(subject: Subject, error: float, warned: bool, departs: float) -> Verdict:
    if not error < LIMIT:
        return "WRONG"
    # what a HookedTransformer becomes by processing is the user's own model: there is no checkpoint to depart from
    if subject.family == "hooked" or warned or departs < LIMIT:
        return "exact"
    return "changed" if (subject.family, subject.name, subject.mode) in UNWARNED else "WRONG"


def _errors(single: dla.Attribution, pair: dla.Attribution, ids: Tensor, truth: _Truth) -> tuple[dict[str, float], int]:
    """The largest error of each thing that can be compared, and how many heads' rows cannot."""
    own, other = (_picked(truth.own, each) for each in ids)
    compared = {
        "the sum": single.gap,
        "the sum of a difference": pair.gap,
        "the output logit": single.output_logit - own,
        "the output difference": pair.output_logit - (own - other),
    }
    unchecked = 0
    if truth.rows is not None:
        compared["the logit"] = single.logit - _picked(truth.rows.unembedded, ids[0])
        for part, label, row, difference in zip(single.parts, single.labels, single.values, pair.values, strict=True):
            if label in truth.rows.vectors:
                expect = truth.rows.row(label, ids[0])
                compared[f"row {label}"] = row - expect
                compared[f"row {label} of a difference"] = difference - expect + truth.rows.row(label, ids[1])
            else:
                unchecked += part.kind == "head"
    else:
        unchecked = sum(part.kind == "head" for part in single.parts)
    return {what: _largest(error, truth) for what, error in compared.items()}, unchecked


def _largest(error: Tensor, truth: _Truth) -> float:
    return float(error.abs().max().nan_to_num(torch.inf)) / float(truth.own.std())


def _picked(logits: Tensor, ids: Tensor) -> Tensor:
    return logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1)


def _cell(subject: Subject, unit: str, verdict: Verdict, **found: Any) -> Cell:
    return Cell(subject.family, subject.name, subject.mode, unit, LINE, verdict, **found)

"""What an attribution leaves out, in sentences with this result's own numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from rich.console import Console, ConsoleOptions
from rich.text import Text
from torch import Tensor

from dla.decomposers.rows import RowKind
from dla.provenance import Provenance
from dla.results.attributed import AttributedRows
from dla.results.attribution_table import is_transformed, mean_by_row
from dla.results.direct_effects import DirectEffects
from dla.results.effects import Effects
from dla.results.rerun import Rerun
from dla.results.total_effects import TotalEffects
from dla.text import as_text
from dla.views.grid import printed
from dla.views.text import as_html

_TOP = 5  # rows that are called the largest


@final
@dataclass(frozen=True)
class Caveats:
    """What to know before a result is believed; prints as sentences.

    Numbers are means over prompts and positions, in logits.

    Attributes:
        cancellation: `Σ|value| / |Σ value|`: how many times over the rows cancel.
        top_share: What the five rows with the largest absolute values add up to, divided by the sum of all.
        reaction: The row to whose removal the final norm reacts most, its value, and its direct effect.
        common: How much of the logit all tokens of the vocabulary share: their mean logit, times the weight with which
            the direction reads single tokens; 0 for a difference. None where the direction reads the stream.
        repaired: With effects: what parts that were taken away lost directly, and in runs.
        erased: With totals: the row of which later parts that read it take back most, what it adds directly, and what
            it comes to through all paths; None if no row is taken back.
        sentences: All of it in words.
    """

    cancellation: float
    top_share: float
    reaction: tuple[str, float, float] | None
    common: float | None
    repaired: tuple[float, float] | None
    erased: tuple[str, float, float] | None
    sentences: tuple[str, ...]

    @staticmethod
    @torch.no_grad()
    def of(
        result: AttributedRows, rerun: Rerun, effects: Effects | None, totals: TotalEffects | None = None
    ) -> "Caveats":
        """The caveats of an attribution, after one more run of the model.

        Args:
            result: The attribution, of one direction.
            rerun: Where it comes from.
            effects: Measured effects of some of its parts, if there are.
            totals: What its parts add through all paths, if that is known.

        Raises:
            RunChangedError: If the model does not run any more as it did.
            ValueError: If the rows do not add up, or several directions were asked for.
        """
        if result.provenance.row_kind != RowKind.ADDITIVE.value:
            raise ValueError(f"The rows are {result.provenance.row_kind}; they share no logit that could cancel.")
        for what, other in (("effects", effects), ("total_effects", totals)):
            asked = None if other is None else _asked_by(other)
            if asked is not None and not _same_question(result.provenance, asked):
                raise ValueError(
                    f"What {what} gave is of another result, about {asked.direction!r}. Pass what {what} of this "
                    "result gave."
                )
        means = mean_by_row(result, result.values)
        flat = result.values.double().reshape(len(result.values), -1)
        flat = flat[:, ~flat.isnan().any(0)]
        size, total = float(flat.abs().sum(0).mean()), float(flat.sum(0).abs().mean())
        strongest = flat.abs().topk(min(_TOP, len(flat)), 0).indices
        top, all_of_it = float(flat.gather(0, strongest).sum(0).mean()), float(flat.sum(0).mean())
        reaction = None if rerun.scale is None else _strongest_reaction(result, rerun)
        common, logit = _common(rerun), float(result.logit.double().nanmean())
        repaired = None if effects is None else _repaired(effects)
        erased = None if totals is None else _erased(totals)
        sentences = (
            _of_cancelling(size, total, all_of_it),
            f"The {len(strongest)} largest rows of {len(means)} add up to {top:+.2f} of {all_of_it:+.2f}.",
            *([] if reaction is None else [_of_reaction(*reaction)]),
            *([] if common is None else [_of_common(common, logit)]),
            *([_of_transform(logit, float(result.output_logit.double().nanmean()))] if is_transformed(result) else []),
            *([] if erased is None else [_of_erasure(*erased)]),
            *([] if repaired is None else [_of_repair(*repaired)]),
        )
        return Caveats(_ratio(size, total), _ratio(top, all_of_it), reaction, common, repaired, erased, sentences)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield from (Text(as_text(sentence)) for sentence in self.sentences)

    def __str__(self) -> str:
        return printed(self)

    def _repr_html_(self) -> str:
        return "".join(f"<p>{as_html(sentence)}</p>" for sentence in self.sentences)


def _strongest_reaction(result: AttributedRows, rerun: Rerun) -> tuple[str, float, float]:
    """The row to whose removal the final norm reacts most, its value, and its direct effect."""
    effects = DirectEffects.of(result, rerun)
    reactions, values = mean_by_row(result, effects.reactions), mean_by_row(result, result.values)
    i = int(reactions.abs().argmax())
    return result.labels[i], float(values[i]), float(values[i] + reactions[i])


def _common(rerun: Rerun) -> float | None:
    """The mean logit of all tokens, times the sum of the direction's weights; None where it reads a vector."""
    query = rerun.query
    (resolved,) = query.resolved
    if resolved.vector is not None or rerun.stream is None or rerun.scale is None or query.unembedding.norm is None:
        return None
    unembedding, norm = query.unembedding, query.unembedding.norm
    weights = resolved.weights.double().sum() + (0.0 if resolved.dense is None else resolved.dense.double().sum(-1))
    column = unembedding.W_U.mean(-1, dtype=torch.float64)
    normalised = norm.push_forward(rerun.stream.double(), rerun.scale.double())
    normalised = normalised if norm.bias is None else normalised + norm.bias.to(normalised)
    mean: Float[Tensor, "batch query"] = normalised @ column.to(normalised) * unembedding.multiplier
    mean = mean if unembedding.b_U is None else mean + unembedding.b_U.double().mean()
    valid = query.positions.valid.to(mean.device)
    return float((mean * torch.as_tensor(weights).to(mean))[valid].mean())


def _asked_by(other: Effects | TotalEffects) -> Provenance:
    return other.provenance if isinstance(other, TotalEffects) else other.attribution.provenance


def _same_question(one: Provenance, other: Provenance) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in ("tokens", "direction", "model", "edits"))


def _erased(totals: TotalEffects) -> tuple[str, float, float] | None:
    """The row of which most is taken back where it was asked about, its direct effect, and that through all paths."""
    direct, through = totals.direct.double(), totals.through.double()
    there = (direct != 0).any(0)  # all else is written at other positions
    own, back = ((each * there).sum(-1).mean(-1) for each in (direct, through))
    lost = torch.minimum(own.abs(), back.abs()) * (own * back < 0)
    i = int(lost.argmax())
    return (totals.labels[i], float(own[i]), float(own[i] + back[i])) if bool(lost[i] > 0) else None


def _repaired(effects: Effects) -> tuple[float, float]:
    direct, measured = (
        float(mean_by_row(effects.attribution, numbers).sum())
        for numbers in (effects.direct_effects, effects.measured_effects)
    )
    return direct, measured


def _of_cancelling(size: float, total: float, signed: float) -> str:
    if not total:
        return f"The rows cancel entirely: their absolute values add up to {size:.2f} logits, and they to 0."
    # The sums of several prompts may have both signs, and their mean says nothing of how large each is.
    sums = f"{signed:.2f} logits," if abs(signed) > 0.999 * total else f"{total:.2f} logits, of either sign,"
    return (
        f"The rows add up to {sums} and their absolute values to {size:.2f}, {size / total:.1f} times as much: the "
        "rest cancels."
    )


def _of_transform(logit: float, returned: float) -> str:
    return (
        f"The model caps or scales its logits: it returns {returned:+.2f} where the rows explain {logit:+.2f}. Rows "
        "and effects are in logits before that."
    )


def _of_reaction(label: str, value: float, effect: float) -> str:
    return (
        f"The values hold the final norm's scale fixed. If it may react, removing {label} alone takes away "
        f"{effect:+.2f} and not {value:+.2f}; no other row differs more."
    )


def _of_common(common: float, logit: float) -> str:
    if common == 0:
        return "The direction reads differences of tokens only: nothing that raises all tokens alike is in the rows."
    return (
        f"Of the logit {logit:+.2f}, {common:+.2f} is the mean over all tokens of the vocabulary, which raises every "
        "answer alike. Ask for a difference, or for dla.CentredLogit, to leave it out."
    )


def _of_erasure(label: str, direct: float, total: float) -> str:
    return (
        f"{label} adds {direct:+.2f} directly; with what later parts write because they read it there, it comes to "
        f"{total:+.2f}. No other row is taken back more."
    )


def _of_repair(direct: float, measured: float) -> str:
    return (
        f"Taken away one by one, the measured parts would cost {direct:+.2f} logits if only the final norm reacted; in "
        f"runs of the model they cost {measured:+.2f}. Others repair the difference, {direct - measured:+.2f}."
    )


def _ratio(size: float, total: float) -> float:
    return size / total if total else float("inf")

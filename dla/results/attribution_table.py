"""An attribution as a table: the rows in the order of their size, and the proof below them."""

import torch
from jaxtyping import Float
from torch import Tensor

from dla.decomposers.rows import RowKind
from dla.inputs.arguments import choice
from dla.inputs.given import count
from dla.provenance import Provenance
from dla.results.answers import answers_in_short
from dla.results.attributed import AttributedRows
from dla.text import some_of
from dla.views.grid import Grid, Line, signed

ROWS_SHOWN = 10
"""How many rows a printed table shows at each end."""

_BAR = 24
"""How many characters its longest bar has."""


def attribution_grid(result: AttributedRows, shown: int) -> Grid:
    """The table, with at most `shown` rows at each end.

    Raises:
        ValueError: If several directions were asked for.
    """
    ends = (tuple(Line(label, (signed(value),), value) for label, value in rows) for rows in _ends(result, shown))
    proof = tuple(Line(label, (signed(value),)) for label, value in proof_of(result))
    return Grid(title_of(result), ("logits",), (*ends, proof), answers_in_short(result), bar=_BAR)


def mean_by_row(result: AttributedRows, numbers: Float[Tensor, "part *more"]) -> Float[Tensor, " part"]:
    """One number for each row, the mean over prompts and positions; of an answer's tokens the sum.

    Raises:
        ValueError: If several directions were asked for.
    """
    if result.directions:
        raise ValueError(f"Rows are ranked for one direction at a time: result.direction({result.directions[0]!r}).")
    numbers = of_answers(numbers, result.provenance)
    return numbers.flatten(1).to(torch.float64).nanmean(-1) if numbers.ndim > 1 else numbers


def ranked(result: AttributedRows, by: str, k: object, sign: int) -> list[tuple[str, float]]:
    """The first `k` labels with their means, the largest first, or with `sign=-1` the smallest."""
    means, k = mean_by_row(result, result.values), count(k, "k", "parts", least=0)
    order = sign * (means.abs() if choice(by, "by", ("value", "abs")) == "abs" else means)
    best = order.argsort(descending=True, stable=True)[:k].tolist()
    return [(str(result.parts[i]), float(means[i])) for i in best]


def _ends(result: AttributedRows, shown: int) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """The rows of a table, largest first: all of them, or both ends. Cumulative rows keep their order."""
    if result.provenance.row_kind != RowKind.ADDITIVE.value:
        return list(zip(result.labels, mean_by_row(result, result.values).tolist(), strict=True)), []
    if len(result.parts) <= 2 * shown:
        return ranked(result, "value", 2 * shown, 1), []
    return ranked(result, "value", shown, 1), ranked(result, "value", shown, -1)[::-1]


def title_of(result: AttributedRows) -> str:
    """What was asked, how it was split, and over how much the printed numbers are averaged."""
    provenance = result.provenance
    edits = f", edited: {some_of(provenance.edits)}" if provenance.edits else ""
    asked = "".join(f" ({some_of(map(repr, filter(None, tokens)))})" for tokens in provenance.asked)
    what = f"{provenance.direction}{asked}, {provenance.decomposer}{edits}"
    count, prompts = int((result.positions >= 0).sum()), len(provenance.tokens)
    if provenance.summed and "position" in provenance.dims:
        return f"{what}, sum over {count} tokens" + (f", mean over {prompts} prompts" if prompts > 1 else "")
    return what if count == 1 else f"{what}, mean over {count} positions of {prompts} prompts"


def proof_of(result: AttributedRows) -> list[tuple[str, float]]:
    """What the rows come to, what was measured, and how far apart the two are."""
    additive, changed = result.provenance.row_kind == RowKind.ADDITIVE.value, is_transformed(result)
    own = "its logit before cap or scale" if changed else "the model's own logit"
    numbers = (result.total, result.constant, result.logit, result.output_logit)
    total, constant, logit, returned = (
        float(of_answers(each, result.provenance).double().nanmean()) for each in numbers
    )
    return [
        ("sum of the parts" if additive else "the last row", total),
        ("constant", constant),
        ("the row as measured" if result.provenance.traced else own, logit),
        ("largest gap", float(result.gap.abs().nan_to_num().max())),
        *([("what the model returns", returned)] if changed else []),
    ]


def is_transformed(result: AttributedRows) -> bool:
    """Whether the model returns other numbers than the logits that the rows add up to: it caps or scales them."""
    return bool(((result.output_logit - result.logit).abs() > result.tolerance).any())


def of_answers(numbers: Float[Tensor, "*more"], provenance: Provenance) -> Float[Tensor, "*fewer"]:
    """The sum over positions, where these are the tokens of an answer; else the numbers as they are."""
    if not provenance.summed or provenance.dims[-1:] != ("position",):
        return numbers
    return over_positions(numbers)


def over_positions(numbers: Float[Tensor, "*more position"]) -> Float[Tensor, "*more"]:
    """The sum over the positions that a prompt has; NaN where it has none."""
    return numbers.nansum(-1).masked_fill(numbers.isnan().all(-1), torch.nan)

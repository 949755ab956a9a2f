"""The likely cause of rows that miss the logit, from what the gap is equal to."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.anatomy import Anatomy
from dla.attributor import Attributor
from dla.decomposers import (
    BiasDecomposer,
    BlockDecomposer,
    ComponentDecomposer,
    HeadDecomposer,
    NeuronDecomposer,
    SourceDecomposer,
)
from dla.decomposers.base import Decomposer
from dla.decomposers.rows import RowKind
from dla.labels import Label
from dla.results.attribution import Attribution
from dla.testing.altered_adapter import AlteredAdapter
from dla.testing.laws.case import Case
from dla.testing.laws.compare import sum_size
from dla.testing.laws.rows import rows_of
from dla.testing.laws.wrong_rows import is_small, words_of_wrong_rows, wrong_rows
from dla.writes.routes import Route

_SENTENCES = {
    1.0: "The rows miss {name}: the gap equals {symbol} at every position.",
    -1.0: "The rows hold {name} once too often: the gap equals -1 × {symbol} at every position.",
    2.0: "The rows have {name} with the wrong sign, or lack it twice: the gap equals +2 × {symbol} at every position.",
    -2.0: "The rows hold {name} twice too often: the gap equals -2 × {symbol} at every position.",
}
"""What to say where the gap is a candidate times this factor."""

_SYMBOLS = {"b_O": "b_O", "b_out": "b_out", "b_V": "b_V W_O", "ln1_post_b": "β", "ln2_post_b": "β"}

_Row = Float[Tensor, "batch pos"]

_Candidate = tuple[str, str, _Row]
"""Something that people forget: what it is, how it is written, its row."""


def cause_of(case: Case, result: Attribution, direction: Any) -> str:
    """Why the rows miss the logit, where something fits the gap; else what was measured of it.

    An error on the way is told, too: the rows are wrong, and what they are compared with may be.

    Args:
        case: What was tried.
        result: An attribution of it that does not add up.
        direction: What was asked.
    """
    try:
        return _fitting(case, result, direction) or _measured(case, result, direction)
    except Exception as error:  # a model that is wrong may break anything
        return f"It could not be looked for: {type(error).__name__}: {error}"


def _fitting(case: Case, result: Attribution, direction: Any) -> str:
    """What explains the gap, proven by putting it in; empty if nothing does."""
    gap = (result.logit - result.total - result.constant).detach().double()
    if not bool(gap.isfinite().all()):
        return "The rows hold numbers that are not finite."
    if bool((gap.abs() <= result.tolerance.double()).all()):
        return "They are the logit before the model's output transform: the transform (soft cap, scale) is not as said."
    for name, symbol, row in _candidates(case, direction):
        for factor, sentence in _SENTENCES.items():
            if is_small(gap - factor * row, gap):
                return sentence.format(name=name, symbol=symbol)
    return _of_shape(gap, result) or _of_wrong_rows(case, result, direction, gap) or _of_size(gap, result)


def _of_wrong_rows(case: Case, result: Attribution, direction: Any, gap: _Row) -> str:
    """Which rows are not what their names say, where with the right ones the gap is gone."""
    if case.row_kind is not RowKind.ADDITIVE:
        return ""
    known: dict[Label, _Row] = {}
    for decomposer in (
        BiasDecomposer(),
        SourceDecomposer(),
        NeuronDecomposer(),
        HeadDecomposer(),
        ComponentDecomposer(),
    ):
        known |= _rows(case, direction, decomposer)
    wrong = wrong_rows(known, rows_of(result))
    if not wrong.explain(gap):
        return ""
    return f"{words_of_wrong_rows(case, wrong, direction)} {_of_size(gap, result)}".strip()


def _candidates(case: Case, direction: Any) -> Iterator[_Candidate]:
    """The smallest things first: a large one may hold a small one."""
    bias = _rows(case, direction, BiasDecomposer())
    for kind, symbol in _SYMBOLS.items():
        of_kind = {label: row for label, row in bias.items() if label.kind == kind}
        for label, row in of_kind.items():
            yield f"`{kind}` of block {label.layer}", f"{symbol} · d̂", row
        if len(of_kind) > 1:
            yield f"`{kind}` of every block", f"the sum of {symbol} · d̂", torch.stack(list(of_kind.values())).sum(0)
    yield from _constants(case, direction)
    for decomposer in (HeadDecomposer(), ComponentDecomposer(), NeuronDecomposer(), BlockDecomposer()):
        rows = _rows(case, direction, decomposer)
        yield from ((f"`{label}`", f"its row ({label})", row) for label, row in rows.items())
        yield from _of_kinds(rows)
        start = [row for label, row in rows.items() if label.kind.endswith("embed")]
        if len(start) > 1:
            yield "all embeddings", "their sum", torch.stack(start).sum(0)
    yield from _forgotten_on_the_way(case, direction)


def _of_kinds(rows: dict[Label, _Row]) -> Iterator[_Candidate]:
    """All rows of one kind, in one layer and in all."""
    groups: dict[tuple[str, int | None], list[Tensor]] = {}
    for label, row in rows.items():
        groups.setdefault((label.kind, label.layer), []).append(row)
        groups.setdefault((label.kind, None), []).append(row)
    for (kind, layer), some in groups.items():
        if len(some) > 1:
            where = "of every block" if layer is None else f"of block {layer}"
            yield f"every `{kind}` {where}", "their sum", torch.stack(some).sum(0)


def _constants(case: Case, direction: Any) -> Iterator[_Candidate]:
    """β and b_U, which are in the constant and in no row."""
    components = case.by(ComponentDecomposer())
    result = components.attribute(direction)
    yield "the constant β·W_U + b_U", "the constant", result.constant.double().expand_as(result.total)
    norm = case.adapter.anatomy.unembedding.norm
    changes: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("the final norm's bias β", "β · W_U", {"norm": norm and replace(norm, bias=None)}),
        ("the unembedding's bias b_U", "b_U", {"b_U": None}),
    )
    for name, symbol, change in changes:
        without = components.attribute(direction, model=AlteredAdapter(case.adapter, partial(_with_readout, **change)))
        yield name, symbol, (result.constant - without.constant).double().expand_as(result.total)


def _forgotten_on_the_way(case: Case, direction: Any) -> Iterator[_Candidate]:
    """What the heads would lack if one thing between them and the stream were forgotten."""
    heads = case.by(HeadDecomposer())
    right = heads.attribute(direction)
    changes: tuple[tuple[str, Callable[[Route], Route]], ...] = (
        ("the centring of what is written before a norm", lambda route: _with_norm(route, centred=False)),
        ("the weight γ of the norm after a sublayer", lambda route: _with_norm(route, weight=None)),
        ("the norm after each sublayer, which heads pass", lambda route: replace(route, norm=None)),
        ("the residual multiplier, which heads pass", lambda route: replace(route, multiplier=1.0)),
    )
    for name, change in changes:
        adapter = AlteredAdapter(case.adapter, partial(_with_head_routes, change=change))
        wrong = heads.attribute(direction, model=adapter)
        yield name, "what that changes", (right.total - wrong.total).double()


def _with_readout(anatomy: Anatomy, **changes: Any) -> Anatomy:
    return replace(anatomy, unembedding=replace(anatomy.unembedding, **changes))


def _with_norm(route: Route, **changes: Any) -> Route:
    return route if route.norm is None else replace(route, norm=replace(route.norm, **changes))


def _with_head_routes(anatomy: Anatomy, change: Callable[[Route], Route]) -> Anatomy:
    blocks = []
    for block in anatomy.blocks:
        sublayers = [
            s if s.heads is None else replace(s, heads=replace(s.heads, route=change(s.heads.route)))
            for s in block.sublayers
        ]
        blocks.append(replace(block, sublayers=tuple(sublayers)))
    return replace(anatomy, blocks=tuple(blocks))


def _rows(case: Case, direction: Any, decomposer: Decomposer) -> dict[Label, _Row]:
    result = case.by(decomposer).attribute(direction)
    return {label: row.double() for label, row in zip(result.parts, result.values, strict=True)}


def _of_shape(gap: _Row, result: Attribution) -> str:
    """What the gap looks like, where it is no known row."""
    for label, row in zip(result.parts, result.values.double(), strict=True):
        factor = _ratio(gap, row)
        if is_small(gap + row, gap):
            return f"Row {str(label)!r} should not be there: without it the others add up."
        if is_small(gap - factor * row, gap):
            return (
                f"Row {str(label)!r} is right but for the factor {1 + factor:.4g}: a multiplier, a scale or a weight."
            )
    total = result.total.double()
    factor = _ratio(gap, total)
    if is_small(gap - factor * total, gap):
        return f"All rows are right but for the factor {1 + factor:.4g}."
    return ""


def _of_size(gap: _Row, result: Attribution) -> str:
    """What the size of the gap tells."""
    if gap.shape[-1] > 1 and bool((gap[..., 0].abs() <= 1e-3 * gap.abs().max()).all()):
        return "The first position is right and later ones are not: what is wrong is read of another position."
    small = gap.abs() <= 1e-3 * sum_size(result).double()
    return "The gap is a rounding of too few bits: sums in half precision, or a cast." if bool(small.all()) else ""


def _ratio(gap: _Row, row: _Row) -> float:
    return float((gap * row).sum() / row.pow(2).sum().clamp(min=1e-300))


def _measured(case: Case, result: Attribution, direction: Any) -> str:
    """Where the rows miss the logit, where nothing fits the gap."""
    share = (result.gap.abs() / sum_size(result)).double()
    wrong = result.gap.abs() > result.tolerance
    said = (
        f"Nothing that was tried fits the gap. It is there at {int(wrong.sum())} of {wrong.numel()} positions, up to "
        f"{float(share.max()):.0%} of all that is added up."
    )
    if case.row_kind is RowKind.LENS:
        return said
    attributor = Attributor(case.adapter, case.decomposer, check="warn")
    row = attributor.explain_gap(case.tokens, direction, pos=None).first()
    if row is None:
        return f"{said} No block shows it alone: parts without a layer may hold it."
    return (
        f"{said} The sum first goes wrong at {row.place}: the stream gained {row.measured:+.4g} there, and the rows "
        f"with that layer hold {row.parts:+.4g}. A decomposition with more rows there would tell more."
    )

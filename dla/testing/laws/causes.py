"""What a gap is made of: the likely cause of a sum that is wrong."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
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
)
from dla.decomposers.base import Decomposer
from dla.decomposers.plans import RowKind
from dla.labels import Label
from dla.results.attribution import Attribution
from dla.testing.altered import Altered
from dla.testing.laws.case import Case, attributed
from dla.testing.laws.compare import size_of

_CLEAR = 1e-2
"""A cause is named if it explains all but this share of the gap."""

_FACTORS = {1.0: "", -1.0: "twice", 2.0: "sign", -2.0: "thrice"}

_SYMBOLS = {"b_O": "b_O", "b_out": "b_out", "b_V": "b_V W_O", "ln1_post_b": "β", "ln2_post_b": "β"}

Candidate = tuple[str, str, Tensor]
"""What it is, how it is written, its rows."""


def cause_of(case: Case, result: Attribution, direction: Any) -> str:
    """Why the rows miss the logit, as far as the gap tells."""
    gap = (result.logit - result.total - result.constant).detach().double()
    if not bool(gap.isfinite().all()):
        return "The rows hold numbers that are not finite."
    if bool((gap.abs() <= result.tolerance.double()).all()):
        return "They are the logit before the model's output transform: the transform (soft cap, scale) is not as said."
    for name, symbol, row in _candidates(case, direction):
        factor = _factor(gap, row)
        if factor is not None:
            return _sentence(name, symbol, factor)
    return _of_shape(gap, result) or _where(case, direction)


def _sentence(name: str, symbol: str, factor: float) -> str:
    equal = f"the gap equals {'' if factor == 1.0 else f'{factor:+g} × '}{symbol} at every position"
    match _FACTORS[factor]:
        case "":
            return f"The rows miss {name}: {equal}."
        case "twice":
            return f"The rows hold {name} once too often: {equal}."
        case "sign":
            return f"The rows have {name} with the wrong sign, or lack it twice: {equal}."
        case _:
            return f"The rows hold {name} twice too often: {equal}."


def _factor(gap: Tensor, row: Tensor) -> float | None:
    """The factor of the row that the gap is, at every position."""
    for factor in _FACTORS:
        if bool((gap - factor * row).abs().max() <= _CLEAR * gap.abs().max()):
            return factor
    return None


def _candidates(case: Case, direction: Any) -> Iterator[Candidate]:
    """What people forget, the smallest things first."""
    bias = _rows(case, direction, BiasDecomposer())
    for kind, symbol in _SYMBOLS.items():
        of_kind = {label: row for label, row in bias.items() if label.kind == kind}
        for label, row in of_kind.items():
            yield f"`{_bias(label)}` of block {label.layer}", f"{symbol} · d̂", row
        if len(of_kind) > 1:
            yield f"`{kind}` of every block", f"the sum of {symbol} · d̂", torch.stack(list(of_kind.values())).sum(0)
    yield from _constants(case, direction)
    for decomposer in (HeadDecomposer(), ComponentDecomposer(), NeuronDecomposer(), BlockDecomposer()):
        rows = _rows(case, direction, decomposer)
        for label, row in rows.items():
            yield f"`{label}`", f"its row ({label})", row
        yield from _of_kinds(rows)
    yield from _altered(case, direction)


def _of_kinds(rows: dict[Label, Tensor]) -> Iterator[Candidate]:
    """All rows of one kind, in one layer and in all."""
    groups: dict[tuple[str, int | None], list[Tensor]] = {}
    for label, row in rows.items():
        groups.setdefault((label.kind, label.layer), []).append(row)
        groups.setdefault((label.kind, None), []).append(row)
    for (kind, layer), some in groups.items():
        if len(some) > 1:
            where = "of every block" if layer is None else f"of block {layer}"
            yield f"every `{kind}` {where}", "their sum", torch.stack(some).sum(0)


def _constants(case: Case, direction: Any) -> Iterator[Candidate]:
    """β and b_U, which are in the constant and in no row."""
    result = attributed(ComponentDecomposer(), case.adapter, direction, case.tokens)
    yield "the constant β·W_U + b_U", "the constant", result.constant.double().expand_as(result.total)
    for name, symbol, change in (
        (
            "the final norm's bias β",
            "β · W_U",
            lambda a: _readout(a, norm=a.unembedding.norm and replace(a.unembedding.norm, bias=None)),
        ),
        ("the unembedding's bias b_U", "b_U", lambda a: _readout(a, b_U=None)),
    ):
        without = attributed(ComponentDecomposer(), Altered(case.adapter, change), direction, case.tokens)
        yield name, symbol, (result.constant - without.constant).double().expand_as(result.total)


def _altered(case: Case, direction: Any) -> Iterator[Candidate]:
    """What the rows of a right decomposition would lack if one thing were forgotten on their way."""
    right = attributed(HeadDecomposer(), case.adapter, direction, case.tokens)
    for name, change in (
        ("the centring of what is written before a norm", {"centred": False}),
        ("the weight γ of the norm after a sublayer", {"weight": None}),
    ):
        anatomy = _rerouted(**change)
        wrong = attributed(HeadDecomposer(), Altered(case.adapter, anatomy), direction, case.tokens)
        yield name, "what that changes", (right.total - wrong.total).double()
    for name, alter in (
        ("the norm after each sublayer", {"norm": None}),
        ("the residual multiplier", {"multiplier": 1.0}),
    ):
        wrong = attributed(HeadDecomposer(), Altered(case.adapter, _heads_routed(**alter)), direction, case.tokens)
        yield f"{name}, which heads pass", "what that changes", (right.total - wrong.total).double()


def _readout(anatomy: Anatomy, **changes: Any) -> Anatomy:
    return replace(anatomy, unembedding=replace(anatomy.unembedding, **changes))


def _rerouted(**changes: Any) -> Any:
    def change(route: Any) -> Any:
        return route if route.norm is None else replace(route, norm=replace(route.norm, **changes))

    return lambda anatomy: _with_heads(anatomy, change)


def _heads_routed(**changes: Any) -> Any:
    return lambda anatomy: _with_heads(anatomy, lambda route: replace(route, **changes))


def _with_heads(anatomy: Anatomy, change: Any) -> Anatomy:
    blocks = []
    for block in anatomy.blocks:
        sublayers = [
            s if s.heads is None else replace(s, heads=replace(s.heads, route=change(s.heads.route)))
            for s in block.sublayers
        ]
        blocks.append(replace(block, sublayers=tuple(sublayers)))
    return replace(anatomy, blocks=tuple(blocks))


def _rows(case: Case, direction: Any, decomposer: Decomposer) -> dict[Label, Float[Tensor, "batch pos"]]:
    with contextlib.suppress(Exception):  # a model that is wrong may break anything; there are other candidates
        result = attributed(decomposer, case.adapter, direction, case.tokens)
        return {label: row.double() for label, row in zip(result.parts, result.values, strict=True)}
    return {}


def _of_shape(gap: Tensor, result: Attribution) -> str:
    """What the gap looks like, where it is no known row."""
    for label, row in zip(result.parts, result.values.double(), strict=True):
        factor = float((gap * row).sum() / row.pow(2).sum().clamp(min=1e-300))
        if bool((gap - factor * row).abs().max() <= _CLEAR * gap.abs().max()):
            return (
                f"Row {str(label)!r} is right but for the factor {1 + factor:.4g}: a multiplier, a scale or a weight."
            )
    total = result.total.double()
    factor = float((gap * total).sum() / total.pow(2).sum().clamp(min=1e-300))
    if bool((gap - factor * total).abs().max() <= _CLEAR * gap.abs().max()):
        return f"All rows are right but for the factor {1 + factor:.4g}."
    if gap.numel() > 1 and bool((gap[..., 0].abs() <= 1e-3 * gap.abs().max()).all()):
        return "The first position is right and later ones are not: a number of another position is read."
    small = gap.abs() <= 1e-3 * size_of(result).double()
    return "The gap is a rounding of too few bits: sums in half precision, or a cast." if bool(small.all()) else ""


def _where(case: Case, direction: Any) -> str:
    """The first block where the sum goes wrong."""
    if case.law is RowKind.LENS:
        return ""
    with contextlib.suppress(Exception):
        attributor = Attributor(case.adapter, case.decomposer, check="warn")
        row = attributor.explain_gap(case.tokens, direction, pos=case.tokens.shape[1] - 1).first()
        return "" if row is None else f"The sum first goes wrong at: {row.place}."
    return ""


def _bias(label: Label) -> str:
    return label.kind

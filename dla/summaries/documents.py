"""A summary, or a comparison of two sweeps, as a document for programs."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from dla.provenance import model_name, versions
from dla.summaries.subject import SummarySubject
from dla.views.document import document, kept_first

_OF_A_PART = "mean low high standard_error min max positive first second".split()


def summary_document(
    about: SummarySubject, names: Sequence[str], parts: pd.DataFrame, sums: pd.DataFrame, top: int | None
) -> dict[str, Any]:
    """The document.

    Args:
        about: What the summary is of.
        names: The columns that prompts are split by.
        parts: The numbers of each group's parts.
        sums: The numbers of each group's sums.
        top: How many parts of each group are written out; None for all.
    """
    return document(
        "summary",
        model=model_name(about.model),
        decomposer=about.decomposer,
        row_kind=about.row_kind,
        question=about.direction,
        rejected=about.rejected,
        complete=about.complete,
        versions=versions(),
        groups=[_group(names, *frames, top, about.additive) for frames in _by_group(names, parts, sums)],
    )


def _by_group(
    names: Sequence[str], parts: pd.DataFrame, sums: pd.DataFrame
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """The parts and the sums of each group, in its order: each has all parts once, and all sums once."""
    each, of_sums = parts["part"].nunique(), sums["sum"].nunique()
    for i in range(len(parts) // max(each, 1)):
        yield parts.iloc[i * each : (i + 1) * each], sums.iloc[i * of_sums : (i + 1) * of_sums]


def _group(
    names: Sequence[str], parts: pd.DataFrame, sums: pd.DataFrame, top: int | None, additive: bool
) -> dict[str, Any]:
    rows, totals = ([_row(record) for record in frame.to_dict("records")] for frame in (parts, sums))
    kept, left = kept_first([row["mean"] for row in rows], top, additive)
    return {
        "group": {name: rows[0][name] for name in names} if rows else {},
        "prompts": rows[0]["count"] if rows else 0,
        "rows": [_part(rows[i]) for i in kept],
        "rest": {"rows": len(left), "sum": sum(rows[i]["mean"] for i in left) if additive else None},
        "sums": {row["sum"]: _numbers(row) for row in totals},
    }


def _part(row: dict[str, Any]) -> dict[str, Any]:
    place = {name: None if row[name] < 0 else int(row[name]) for name in ("layer", "head")}
    return {"part": row["part"], "kind": row["kind"], **place, **_numbers(row)}


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {name: float(row[name]) for name in _OF_A_PART if name in row}


def _row(record: dict[Any, Any]) -> dict[str, Any]:
    """The values of a row as Python's own."""
    return {str(key): value.item() if hasattr(value, "item") else value for key, value in record.items()}

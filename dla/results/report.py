"""The page of a result: what its strongest heads read and write is measured in one more run each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from dla.decomposers.base import items_of
from dla.decomposers.plans import Entry, Plan
from dla.decomposers.rows import rows_where
from dla.decomposers.source import SourceDecomposer
from dla.inputs.given import Count, count
from dla.labels import Label
from dla.results.attributed import AttributedRows, run_of
from dla.results.attribution_table import is_transformed
from dla.results.part import check_is_read, token_effects
from dla.results.rerun import Rerun
from dla.views.endings import check_target
from dla.views.page.document import HTML_ENDINGS, write_page
from dla.views.page.page_data import HeadSources, PageData, TokensWithValues
from dla.views.page.result_page import MOST_NUMBERS, page_of
from dla.views.plots.rows import PlotRows, RowsOfResult

Promoted = Mapping[int, tuple[TokensWithValues, TokensWithValues]]
"""The tokens that rows push up and down, by the row's place."""


_TRANSFORMED = (
    "This model caps or scales its logits. The logit and all rows are before that; what it returns is the result's "
    "output_logit."
)


def write_report(result: AttributedRows, file: Path, sources: Count, promoted: Count, fallback: str) -> None:
    """Writes the page of a result.

    Args:
        result: The result.
        file: Where to write it.
        sources: How many heads to split by the token that they read.
        promoted: How many tokens to name that each of these heads pushes up, and down.
        fallback: HTML for a reader whose browser runs no script.

    Raises:
        RunChangedError: If the model does not run any more as it did.
        ValueError: If the name has another ending, the result was read from a file, or no row is a head.
        OSError: If there is no such folder, or the file cannot be written there.
    """
    check_target(file, HTML_ENDINGS, "an HTML page", tabular=False)
    of_heads = count(sources, "sources", "heads", least=0), count(promoted, "promoted", "tokens", least=0)
    page = page_with_heads(result, run_of(result, "report") if any(of_heads) else None, *of_heads)
    if is_transformed(result):
        page = replace(page, notes=(*page.notes, _TRANSFORMED))
    write_page(file, page, fallback)


def page_with_heads(result: RowsOfResult, rerun: Rerun | None, sources: int, promoted: int) -> PageData:
    """The page of a result, with what its strongest heads read and write.

    Args:
        result: The result.
        rerun: Where it comes from; None if neither is asked for.
        sources: How many heads to split by the token that they read.
        promoted: How many tokens to name that a head pushes up, and how many that it pushes down.

    Raises:
        RunChangedError: If the model does not run any more as it did.
        ValueError: If no row is a head.
    """
    if rerun is None or not (sources or promoted):
        return page_of(result, None, None)
    rows = PlotRows.of(result)
    heads = _strongest_heads(rows, sources or _FOR_TOKENS)
    fitting = heads[: MOST_NUMBERS // max(1, _numbers_of_a_head(rows))] if sources else []
    left = f"What {len(heads) - len(fitting)} more heads read was left out, for the size of this page."
    notes = (left,) if sources and len(fitting) < len(heads) else ()
    read = head_sources(rows, rerun, fitting) if fitting else None
    return page_of(result, read, _promoted(result, rerun, heads, promoted) if promoted else None, notes)


_FOR_TOKENS = 16  # heads, where only the tokens that they push are asked for


def head_sources(rows: PlotRows, rerun: Rerun, heads: Sequence[int]) -> HeadSources:
    """What heads read of each token, in one more run.

    Args:
        rows: The rows of the result.
        rerun: Where it comes from.
        heads: Which rows; heads all of them.

    Raises:
        RunChangedError: If the model does not run any more as it did.
    """
    wanted = {rows.parts[i]: place for place, i in enumerate(heads)}

    def belongs(label: Label) -> bool:
        return label.parent is not None and label.parent in wanted

    by = SourceDecomposer(sorted({label.layer for label in wanted if label.layer is not None}))
    items = [
        Entry.of(item).then(lambda rows: rows_where(rows, belongs))
        for item in items_of(by, rerun.query.model)
        if isinstance(item, Entry) or any(map(belongs, item.labels))
    ]
    run = rerun.run_of(Plan("sources", tuple(items)))
    width = max(map(len, rows.tokens), default=1 + max((label.source or 0 for label in run.labels), default=0))
    shape = len(rows.directions), len(heads), len(rows.places)
    values, bias = np.full((*shape, width), np.nan), np.zeros(shape)
    found = run.values.detach().to("cpu", torch.float64).flatten(2).numpy()[:, :, _places_of(rerun)]
    for label, row in zip(run.labels, found, strict=True):
        assert label.parent is not None
        head = wanted[label.parent]
        if label.source is None:
            bias[:, head] += row
        elif label.source < width:
            values[:, head, :, label.source] = row
    for place, (prompt, _) in enumerate(rows.places):
        values[:, :, place, len(rows.tokens[prompt]) if rows.tokens else width :] = np.nan
    return HeadSources(tuple(heads), values, bias)


def _promoted(result: RowsOfResult, rerun: Rerun, heads: Sequence[int], k: int) -> Promoted:
    check_is_read(rerun)
    labels = [result.parts[i] for i in heads]
    vectors = rerun.vectors(labels, result.values[list(heads)])
    effects = [token_effects(label, vector, rerun, k) for label, vector in zip(labels, vectors, strict=True)]
    return {i: (found.up, found.down) for i, found in zip(heads, effects, strict=True)}


def _strongest_heads(rows: PlotRows, most: int) -> list[int]:
    heads = [i for i, label in enumerate(rows.parts) if label.kind == "head"]
    if not heads:
        raise ValueError(
            "No row is a head, so there is nothing to say of what heads read or write. Leave out `sources` and "
            "`promoted`, or attribute with HeadDecomposer()."
        )
    sizes: Float[np.ndarray, " part"] = np.abs(np.nan_to_num(rows.values)).max((0, 1))
    return sorted(heads, key=lambda i: -sizes[i])[:most]


def _numbers_of_a_head(rows: PlotRows) -> int:
    return len(rows.directions) * len(rows.places) * max(map(len, rows.tokens), default=1)


def _places_of(rerun: Rerun) -> list[int]:
    there: list[int] = rerun.query.positions.valid.flatten().nonzero().flatten().tolist()
    return there

"""The page of one result: what fits into a file of a few megabytes, and what was left out of it."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64

from dla.text import shortened, some_of
from dla.views.grid import signed
from dla.views.page.page_data import HeadSources, PageData, TokensWithValues
from dla.views.plots.rows import PlotRows, RowsOfResult, mean_over

MOST_NUMBERS = 400_000
"""How many values a page holds beside the means, and how many of sources; each takes 5.3 bytes."""


def page_of(
    result: RowsOfResult,
    sources: HeadSources | None,
    promoted: Mapping[int, tuple[TokensWithValues, TokensWithValues]] | None,
    notes: tuple[str, ...] = (),
) -> PageData:
    """Everything that the page of a result shows.

    Args:
        result: The result.
        sources: What some of its heads read, or None.
        promoted: The tokens that some of its rows push, or None.
        notes: What was left out of these two.
    """
    rows, provenance = PlotRows.of(result), result.provenance
    kept, left = _rows_kept(rows)
    about = [
        ("model", provenance.model),
        ("dtype", provenance.dtype),
        ("asked", provenance.direction),
        ("rows", f"{provenance.decomposer}, {provenance.row_kind}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in provenance.versions.items())),
    ]
    n_prompts = len({prompt for prompt, _ in rows.places})
    places = f"{len(rows.places)} positions of {n_prompts} prompt{'s' if n_prompts > 1 else ''}"
    return PageData(
        title=shortened(provenance.direction),
        subtitle=f"{provenance.decomposer} on {provenance.model}" + (f", {places}" if len(rows.places) > 1 else ""),
        about=about,
        parts=rows.parts,
        directions=rows.directions,
        places=rows.places,
        prompts=rows.tokens,
        means=mean_over(rows.values, 1),
        values=rows.values if kept is None else rows.values[:, :, kept],
        rows=kept,
        sums=_sums(result, rows),
        additive=rows.additive,
        notes=(*left, *notes),
        sources=sources,
        promoted=promoted,
    )


def _rows_kept(rows: PlotRows) -> tuple[list[int] | None, list[str]]:
    """Which rows are told position by position, and what is said of the others."""
    each = max(1, rows.values.shape[0] * rows.values.shape[1])
    room = MOST_NUMBERS // each
    if len(rows.parts) <= room:
        return None, []
    sizes = np.abs(np.nan_to_num(rows.values)).max((0, 1))
    kept = sorted(np.argsort(-sizes, kind="stable")[:room].tolist())
    out = np.ones(len(rows.parts), dtype=bool)
    out[kept] = False
    totals = np.nansum(mean_over(rows.values, 1)[:, out], 1).tolist()
    several = len(totals) > 1
    told = some_of(
        signed(x) + (f" for {name}" if several else "") for name, x in zip(rows.directions, totals, strict=True)
    )
    return kept, [
        f"Of {int(out.sum())} weaker rows only the means are kept; those sum to {told}. "
        f"The {len(kept)} strongest are told position by position."
    ]


def _sums(result: RowsOfResult, rows: PlotRows) -> dict[str, Float64[np.ndarray, "direction place"]]:
    there = (result.positions.reshape(-1) >= 0).nonzero().flatten().tolist()
    tolerance = result.tolerance.detach().cpu().double().reshape(len(rows.directions), -1)[:, there].numpy()
    gap = rows.logit - (rows.total + rows.constant)
    return {"total": rows.total, "constant": rows.constant, "logit": rows.logit, "gap": gap, "tolerance": tolerance}

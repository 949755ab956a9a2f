"""A summary as a page to explore: means and intervals of each group, and the prompts at both ends."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dla.labels import Label
from dla.summaries.subject import SUM_MEASURES, SummarySubject
from dla.text import shortened
from dla.views.page.page_data import PageData, TokensWithValues

WITH_EXAMPLES = 200
"""How many parts, the strongest, have their prompts on a page."""


def page_of_groups(
    title: str,
    about: SummarySubject,
    groups: Sequence[tuple[str, pd.DataFrame]],
    examples: Mapping[int, TokensWithValues],
    level: float,
) -> PageData:
    """Everything that the page of a summary shows.

    Args:
        title: What stands above.
        about: What the summary is of.
        groups: Each group's name and the numbers of its parts and sums, all prompts first.
        examples: Prompts by the part's place.
        level: The share of corpora for which intervals hold.
    """
    n_parts = len(about.parts)
    frames = [numbers.reset_index(drop=True) for _, numbers in groups]
    means, low, high = (np.stack([frame[name].to_numpy(np.float64) for frame in frames]) for name in _NUMBERS)
    of_sums = {name: means[:, n_parts + SUM_MEASURES.index(name)] for name in ("total", "constant", "logit")}
    gaps = [frame[["min", "max"]].abs().max(axis=1).to_numpy(np.float64) for frame in frames]
    gap = np.stack(gaps)[:, n_parts + SUM_MEASURES.index("gap")]
    # A tolerance is that of one prompt; a mean over prompts has none, and a note says how the gaps compare with it.
    misfit = frames[0]["max"].iloc[n_parts + SUM_MEASURES.index("misfit")]
    return PageData(
        title=title,
        subtitle=about.name,
        about=[("asked", about.direction), ("rows", f"{about.decomposer}, {about.row_kind}")],
        parts=[Label(part.kind, part.layer, part.index, text=part.label) for part in about.parts],
        directions=[about.direction],
        places=[(i, -1) for i in range(len(groups))],
        prompts=[],
        means=means[:1, :n_parts],
        values=means[None, :, :n_parts],
        rows=None,
        sums={
            **{name: each[None] for name, each in of_sums.items()},
            "gap": gap[None],
            "tolerance": np.full((1, len(gap)), np.nan),
        },
        additive=about.additive,
        notes=_notes(about, float(misfit)),
        groups=[
            f"{name}, {int(frame['count'].iloc[0])} prompts" for (name, _), frame in zip(groups, frames, strict=True)
        ],
        ends=np.stack([low, high])[:, :, :n_parts],
        ends_name=f"{100 * level:g} % interval",
        examples={i: [(shortened(text, 160), value) for text, value in found] for i, found in examples.items()},
    )


_NUMBERS = ("mean", "low", "high")


def _notes(about: SummarySubject, misfit: float) -> list[str]:
    notes = [f"On every prompt the gap is at most {misfit:.2g} times what rounding explains."]
    if about.rejected:
        notes.append(f"{about.rejected} rows of the corpus were rejected.")
    if not about.complete:
        notes.append("The sweep is not complete.")
    return notes

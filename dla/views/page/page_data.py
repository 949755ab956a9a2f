"""What a page holds, in the form in which its script reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float, Float64

from dla.labels import Label
from dla.views.page.encoding import base64_of, script_json

PAGE_FORMAT = "dla.page/1"

TokensWithValues = Sequence[tuple[str, float]]

SUM_NAMES = ("total", "constant", "logit", "gap", "tolerance")
"""The sums of a page, at each place."""


@final
@dataclass(frozen=True, eq=False)
class HeadSources:
    """What some heads read of each token.

    Attributes:
        rows: Where the heads are among the rows.
        values: What each read of each token of the place's prompt; NaN beyond its end.
        bias: What came from no token.
    """

    rows: tuple[int, ...]
    values: Float[np.ndarray, "direction head place token"]
    bias: Float[np.ndarray, "direction head place"]


@final
@dataclass(frozen=True, eq=False)
class PageData:
    """Everything that a page shows.

    Attributes:
        title: The headline.
        subtitle: The line below it.
        about: What to know of the making, as pairs.
        parts: The labels of the rows.
        directions: The names of the directions.
        places: For each place its prompt and its position there.
        prompts: The tokens of each prompt.
        means: The rows, averaged over places.
        values: The rows at each place.
        rows: Which rows `values` has; None for all.
        sums: By the names in `SUM_NAMES`.
        additive: Whether the rows add up.
        notes: What was left out, in sentences.
        sources: What heads read, where it was computed.
        promoted: The tokens that rows push up and down, by the row's place, where that was computed.
        groups: What each place is called, where it is a group of prompts.
        ends: The lower and upper ends of intervals.
        ends_name: What the intervals are called.
        examples: Prompts by the row's place, each with its value.
    """

    title: str
    subtitle: str
    about: Sequence[tuple[str, str]]
    parts: Sequence[Label]
    directions: Sequence[str]
    places: Sequence[tuple[int, int]]
    prompts: Sequence[Sequence[str]]
    means: Float64[np.ndarray, "direction part"]
    values: Float64[np.ndarray, "direction place row"]
    rows: Sequence[int] | None
    sums: Mapping[str, Float64[np.ndarray, "direction place"]]
    additive: bool
    notes: Sequence[str] = ()
    sources: HeadSources | None = None
    promoted: Mapping[int, tuple[TokensWithValues, TokensWithValues]] | None = None
    groups: Sequence[str] | None = None
    ends: Float64[np.ndarray, "end=2 place part"] | None = None
    ends_name: str = ""
    examples: Mapping[int, TokensWithValues] | None = None

    def json(self) -> str:
        """The text of the page's script block."""
        kinds = list(dict.fromkeys(part.kind for part in self.parts))
        codes = {kind: i for i, kind in enumerate(kinds)}
        document: dict[str, Any] = {
            "format": PAGE_FORMAT,
            "title": self.title,
            "subtitle": self.subtitle,
            "about": self.about,
            "labels": [str(part) for part in self.parts],
            "kinds": [codes[part.kind] for part in self.parts],
            "kindNames": kinds,
            "layers": base64_of(_numbers([part.layer for part in self.parts]), "<i2"),
            "heads": base64_of(_numbers([part.head for part in self.parts]), "<i2"),
            "directions": self.directions,
            "places": self.places,
            "prompts": self.prompts,
            "means": base64_of(self.means, "<f4"),
            "values": {"rows": None if self.rows is None else list(self.rows), "data": base64_of(self.values, "<f4")},
            "sums": {name: base64_of(self.sums[name], "<f8") for name in SUM_NAMES},
            "additive": self.additive,
            "notes": self.notes,
            "groups": self.groups,
            **self._more(),
        }
        return script_json(document)

    def _more(self) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if self.sources is not None:
            found = self.sources
            data, bias = (base64_of(each, "<f4") for each in (found.values, found.bias))
            more["sources"] = {"rows": list(found.rows), "width": found.values.shape[-1], "data": data, "bias": bias}
        if self.promoted is not None:
            more["promoted"] = {str(i): {"up": up, "down": down} for i, (up, down) in self.promoted.items()}
        if self.ends is not None:
            low, high = (base64_of(each, "<f4") for each in self.ends)
            more |= {"ends": {"low": low, "high": high}, "endsName": self.ends_name}
        if self.examples is not None:
            more["examples"] = {str(i): found for i, found in self.examples.items()}
        return more


def _numbers(values: Sequence[int | None]) -> Float64[np.ndarray, " part"]:
    return np.array([-1 if value is None else value for value in values], dtype=np.float64)

"""The text of a result, its tokens coloured by what was asked of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64
from rich.console import Console, ConsoleOptions, Group

from dla.inputs.prompts import Prompts
from dla.results.attributed import AttributedRows
from dla.results.label_index import LabelIndex, OneLabel
from dla.text import shortened
from dla.views.grid import Grid, Line, printed, signed
from dla.views.marked_text import SHARED, MarkedToken, marked_html, marked_rich, told_of
from dla.views.plots.rows import PlotRows

_BEFORE = 200
"""How many tokens are shown of a prompt before the first that is asked about."""

_LONGEST = 30
"""How many characters of a token a line of the table shows."""


@final
@dataclass(frozen=True, eq=False)
class ColouredText:
    """Each prompt as text, its tokens coloured by the logit, or by what one part contributes; prints with a table.

    Where each position asks for the token that follows it, as for text that was generated, the colour is that token's;
    else that of the position itself. Blue is positive, vermilion negative.

    Attributes:
        rows: The result's numbers at each place, of one direction.
        part: The part; None for the logit.
        values: The number of each place.
        texts: Each prompt's tokens as they stand in it; of tokens that share a letter the last one has it.
    """

    rows: PlotRows
    part: str | None
    values: Float64[np.ndarray, " place"]
    texts: tuple[tuple[str, ...], ...]

    @staticmethod
    def of(result: AttributedRows, part: OneLabel | None = None) -> "ColouredText":
        """The text of a result; of several directions, of the first.

        Args:
            result: The result.
            part: The part whose contributions are the colours; None for the logit.

        Raises:
            TypeError: If the part is no label.
            ValueError: If there is no such part, the tokens are not known, or the positions were summed.
        """
        rows = PlotRows.of(result)
        if not rows.tokens:
            raise ValueError("The prompts' tokens are not known, so there is no text. Attribute with the prompts.")
        if result.provenance.summed and "position" not in result.provenance.dims:
            raise ValueError("The result is a sum over positions. Ask the one that it is the sum of for its text.")
        texts = rows.tokens if result.rerun is None else _texts_in_place(result.rerun.query.prompts)
        if part is None:
            return ColouredText(rows, None, rows.logit[0], texts)
        place = LabelIndex(rows.labels)(part)
        return ColouredText(rows, rows.labels[place], rows.values[0][:, place], texts)

    @property
    def what(self) -> str:
        """What the numbers are."""
        return self.part or (self.rows.directions[0] if len(self.rows.directions) > 1 else "logit")

    @property
    def title(self) -> str:
        """The same with what was asked."""
        asked = f"{self.rows.directions[0]}, {'token by token' if self.rows.following else 'position by position'}"
        return asked if self.part is None else f"{self.part} in {asked}"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Group]:
        yield Group(marked_rich(self.title, self._marked()), "", self._grid().rich(options.max_width))

    def __str__(self) -> str:
        return printed(self)

    def _repr_html_(self) -> str:
        text = marked_html(self.title, self._marked())
        return f"{text}<details><summary>by position</summary>{self._grid().html()}</details>"

    def _marked(self) -> list[list[MarkedToken]]:
        """The tokens of each prompt that is asked about."""
        by_prompt: dict[int, dict[int, float]] = {}
        for (prompt, position), value in zip(self.rows.places, self.values.tolist(), strict=True):
            by_prompt.setdefault(prompt, {})[position + self.rows.following] = value
        return [self._of_prompt(prompt, values) for prompt, values in by_prompt.items()]

    def _of_prompt(self, prompt: int, values: dict[int, float]) -> list[MarkedToken]:
        first = max(0, min(values) - _BEFORE)
        left_out = [MarkedToken(f"({first} tokens before) … ")] if first else []
        pairs = zip(self.rows.tokens[prompt], self.texts[prompt], strict=True)
        marked = [
            MarkedToken(text, values.get(i), told_of(i, token, self.what, values[i]) if i in values else "")
            for i, (token, text) in enumerate(pairs)
        ]
        return [*left_out, *marked[first:]]

    def _grid(self) -> Grid:
        names, tokens = self.rows.place_names(), self.rows.tokens
        ends = [
            f" → {shortened(repr(tokens[prompt][position + 1]), _LONGEST)}" if self.rows.following else ""
            for prompt, position in self.rows.places
        ]
        lines = tuple(
            Line(f"{shortened(name, _LONGEST)}{end}", (signed(value),), value)
            for name, end, value in zip(names, ends, self.values.tolist(), strict=True)
        )
        return Grid("", (self.what,), (lines,), rows="position", bar=24)


def _texts_in_place(prompts: Prompts) -> tuple[tuple[str, ...], ...]:
    """Each prompt's tokens with the spaces that they have there."""
    found = []
    for row in prompts.rows():
        texts = [SHARED] * len(row)
        for piece in prompts.vocabulary.pieces(row):
            texts[piece.stop - 1] = piece.text
        found.append(tuple(texts))
    return tuple(found)

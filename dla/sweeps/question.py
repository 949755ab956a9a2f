"""What a sweep asks of each row of its corpus: a direction with columns for tokens, and spans."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch

from dla.decomposers import Decomposer
from dla.directions import (
    Continuation,
    Direction,
    Directions,
    Logit,
    LogitDifference,
    ResolvedDirection,
    TopTokens,
    one_place,
    question,
)
from dla.directions.continuation import FollowingTokens
from dla.inputs.columns import Column
from dla.inputs.continuations import Continued
from dla.inputs.given import shown
from dla.inputs.positions import Positions, read_positions
from dla.inputs.prompts import Prompts, packed
from dla.inputs.spans import EachPrompt, read_spans
from dla.inputs.vocabulary import Vocabulary
from dla.sweeps.sweep_rows import SweepRow
from dla.sweeps.told import columns_in, spans_in, told

LOGIT, DIFFERENCE = "logit of answer", "logit of answer - logit of incorrect"
"""What a sweep asks for if nobody says: one or the other, for all rows."""

_DIGITS = 8
"""Of a digest that tells directions apart whose words are the same."""


@final
@dataclass(frozen=True, eq=False)
class SweepQuestion:
    """What is asked of each row.

    Attributes:
        direction: The direction; a `Continuation` is put behind each prompt.
        words: The same in words, other words for another question.
        columns: The columns of the corpus that hold its tokens.
        spans: The spans of the decomposition: for each the place in every prompt, or None for the column of its name.
    """

    direction: Direction | Continuation
    words: str
    columns: tuple[str, ...]
    spans: Mapping[str, Any]

    @staticmethod
    def of(direction: Direction | Continuation | None, compares: bool, decomposer: Decomposer) -> "SweepQuestion":
        """The question of a sweep.

        Args:
            direction: What `read_direction` gave.
            compares: Whether the corpus has a column of incorrect tokens.
            decomposer: How the stream is split.

        Raises:
            ValueError: If spans are given prompt by prompt.
        """
        spans = {name: place for each in spans_in(decomposer) for name, place in read_spans(each).items()}
        for name, place in spans.items():
            if isinstance(place, EachPrompt):
                raise ValueError(
                    f"The span {name!r} has a place for each prompt. In a sweep it is a column of the corpus: pass its "
                    f"name alone, SourceDecomposer(spans=[{name!r}])."
                )
        if direction is not None:
            return SweepQuestion(direction, _words(direction), tuple(columns_in(direction)), spans)
        asked = Logit(Column("answer"))
        if not compares:
            return SweepQuestion(asked, LOGIT, ("answer",), spans)
        both = LogitDifference(Column("answer"), Column("incorrect"))
        return SweepQuestion(both, DIFFERENCE, ("answer", "incorrect"), spans)

    @property
    def continues(self) -> bool:
        """Whether answers of several tokens are put behind the prompts."""
        return isinstance(self.direction, Continuation)

    def place(self, prompts: Prompts) -> str | None:
        """The place of the stream that the direction reads; None for the model's readout.

        Raises:
            TypeError: If the direction does not give what a direction gives.
            ValueError: If it does not fit any one prompt, such as a list of tokens.
        """
        if isinstance(self.direction, Continuation):
            return None
        columns = {name: torch.zeros(1, dtype=torch.long) for name in self.columns}
        dummy = replace(prompts, columns=columns, answers=torch.zeros(1, 1, prompts.vocabulary.size))
        return one_place([self.direction.resolved(dummy, read_positions(-1, dummy))])

    def posed(self, rows: Sequence[SweepRow], vocabulary: Vocabulary) -> tuple[Direction, Prompts, Positions]:
        """What is asked, of which prompts, and where, for some rows in one batch.

        Args:
            rows: At least one.
            vocabulary: The model's.
        """
        prompts = replace(
            packed([row.ids.tolist() for row in rows], vocabulary),
            columns={name: torch.tensor([row.asked[name] for row in rows]) for name in self.columns}
            if not self.continues
            else {},
            spans={name: tuple(row.spans[name] for row in rows) for name in self.spans},
        )
        if not isinstance(self.direction, Continuation):
            return self.direction, prompts, read_positions(-1, prompts)
        starts = tuple(row.at + 1 for row in rows)
        positions = Continued(prompts, starts).positions()
        others = None
        if self.direction.minus is not None:
            others = torch.zeros(positions.index.shape, dtype=torch.long)
            for filled, row in zip(others, rows, strict=True):
                filled[: len(row.others)] = torch.tensor(row.others)
        return FollowingTokens(self.words, others), prompts, positions


def read_direction(direction: Any) -> Direction | Continuation | None:
    """What a sweep is asked for, checked; None for its default.

    Raises:
        TypeError: If it is no direction.
        ValueError: If it is several.
    """
    if direction is None or isinstance(direction, Continuation):
        return direction
    if isinstance(direction, Column):
        return Logit(direction)
    asked = question(direction)
    if isinstance(asked, Direction):
        return asked
    if isinstance(asked, TopTokens) and asked.k == 1:
        return FirstToken(asked)
    raise ValueError(
        f"A sweep asks one question of each row, and {shown(direction)} is several. Ask for one, such as "
        "dla.LogProbability(dla.Column('answer')) or dla.TopTokens(1); another sweep asks the next."
    )


@final
@dataclass(frozen=True, eq=False)
class FirstToken(Direction):
    """The only one of several directions, such as the model's own first token.

    Attributes:
        several: The directions, of which there is one for any prompts.
    """

    several: Directions
    needs_answers = True

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        (one,) = self.several.named(prompts, positions).values()
        return one.resolved(prompts, positions)

    def describe(self) -> str:
        return self.several.describe()


def _words(direction: Direction | Continuation) -> str:
    """The direction in words, and a digest of it where the words may not say all."""
    words, (contents, plain) = direction.describe(), told(direction)
    digest = hashlib.sha256(repr(contents).encode("utf-8", "backslashreplace")).hexdigest()
    return words if plain else f"{words} ({digest[:_DIGITS]})"


def needed_columns(direction: Direction | Continuation | None, decomposer: Decomposer) -> list[str]:
    """The columns that a corpus must have.

    Args:
        direction: What `read_direction` gave.
        decomposer: How the stream is split.
    """
    named = [name for each in spans_in(decomposer) for name, place in read_spans(each).items() if place is None]
    return ["prompt", *(["answer"] if direction is None else columns_in(direction)), *named]

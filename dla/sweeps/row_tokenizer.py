"""From a row of the corpus to token ids, or to the reason why it is rejected."""

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, final

import numpy as np

from dla.adapters.base import ModelAdapter
from dla.directions import Continuation, LogitDifference
from dla.inputs.columns import Column
from dla.inputs.continuations import Continuations
from dla.inputs.given import items, shown
from dla.inputs.prompts import packed
from dla.inputs.spans import place_of_prompt
from dla.sweeps.corpora import CorpusRow, is_missing
from dla.sweeps.question import SweepQuestion
from dla.sweeps.rejections import RejectedRow
from dla.sweeps.sweep_rows import SweepRow

_REMEMBERED = 65536
"""How many answers are remembered with their token ids; a corpus has few, and a tokenizer is slow."""

_NO_INCORRECT = (
    "The row has no 'incorrect' token while other rows of the corpus have one, and logits are not averaged with "
    "differences of logits. Give it one, or sweep such rows by themselves."
)


@final
class RowTokenizer:
    """Turns the rows of a corpus into token ids, with one model's vocabulary."""

    def __init__(self, model: ModelAdapter, prepend_bos: bool | None, question: SweepQuestion) -> None:
        """Reads nothing yet.

        Args:
            model: The model.
            prepend_bos: Whether the BOS token is put in front; None does as the model does by default.
            question: What is asked of each row.
        """
        self._vocabulary, self._context = model.vocabulary, model.context
        self._prepend_bos, self._question = prepend_bos, question
        self._token = lru_cache(_REMEMBERED)(self._vocabulary.token)

    def read(self, rows: Sequence[CorpusRow]) -> tuple[list[SweepRow], list[RejectedRow]]:
        """The rows that can be asked, and those that are rejected, each with the reason."""
        read, rejected = [], []
        for row in rows:
            try:
                read.append(self._row(row))
            except (ValueError, TypeError) as error:
                # Prompts are read one by one here, and the row has a number of its own.
                rejected.append(RejectedRow(row, str(error).replace(" prompt 0", " the prompt")))
        return read, rejected

    def _row(self, row: CorpusRow) -> SweepRow:
        if row.fault:
            raise ValueError(row.fault)
        prompt, position = row.values.get("prompt"), row.values.get("position")
        if not isinstance(prompt, str):
            raise TypeError(f"The prompt is {shown(prompt)}, of type {type(prompt).__name__}. A prompt is a text.")
        ids, direction = self._vocabulary.prompt(prompt, self._prepend_bos), self._question.direction
        end = len(ids) if is_missing(position) else 1 + _place(position, len(ids))
        run, others = ids[:end], tuple[int, ...]()
        if isinstance(direction, Continuation):
            if end < len(ids):
                raise ValueError(f"The row has a position ({end - 1}), and an answer of several tokens has its own.")
            run, others = self._continued(direction, prompt, row)
        if self._context is not None and len(run) > self._context:
            raise ValueError(
                f"The prompt has {len(run)} tokens up to the position asked about and the model's context is "
                f"{self._context}. Shorten it."
            )
        asked = {} if self._question.continues else self._asked(row)
        spans, unknown = self._spans(row, ids, end), self._has_unknown(prompt, ids[:end])
        return SweepRow(row, np.array(run, dtype=np.int64), len(ids), end - 1, asked, spans, others, unknown)

    def _asked(self, row: CorpusRow) -> dict[str, int]:
        """The token of each column that the direction names."""
        asked: dict[str, int] = {}
        for name in self._question.columns:
            value = row.values.get(name)
            if is_missing(value):
                raise ValueError(_missing(name, asked))
            what = f"{name!r}, a token's text or its id"
            asked[name] = self._token(value if isinstance(value, str) else _whole(value, what))
        if isinstance(self._question.direction, LogitDifference) and len(asked) == 2:
            (first, token), (second, other) = asked.items()
            if token == other:
                raise ValueError(
                    f"{first!r} and {second!r} are the same token ({self._vocabulary.text(token)!r}), and the "
                    "difference of a logit from itself is zero. Give two tokens."
                )
        return asked

    def _continued(self, direction: Continuation, prompt: str, row: CorpusRow) -> tuple[list[int], tuple[int, ...]]:
        """The prompt with its answer behind it, and the tokens of the other answer."""
        answer, minus = (
            None if given is None else _answer(given, row) for given in (direction.answer, direction.minus)
        )
        one = Continuation(answer if answer is not None else direction.answer, minus)
        continued, following = one.posed([prompt], self._vocabulary, None, self._prepend_bos)
        others = () if following.others is None else tuple(following.others[0].tolist())
        return continued.prompts.rows()[0], others

    def _spans(self, row: CorpusRow, ids: list[int], end: int) -> dict[str, tuple[int, ...]]:
        """The positions of each span that are not after the position asked about."""
        prompts, found = packed([ids], self._vocabulary), {}
        owner: dict[int, str] = {}
        for name, given in self._question.spans.items():
            place = row.values.get(name) if given is None else given
            if is_missing(place) or place == "":
                raise ValueError(f"The row has no {name!r}. Give a text of the prompt, or a list of positions.")
            positions = place_of_prompt(place, prompts, 0, f"The span {name!r}")
            for position in positions:
                if owner.setdefault(position, name) != name:
                    raise ValueError(
                        f"The spans {owner[position]!r} and {name!r} overlap: both hold position {position}, "
                        f"{self._vocabulary.text(ids[position])!r}. Give every token to one of them."
                    )
            found[name] = tuple(position for position in positions if position < end)
        return found

    def _has_unknown(self, prompt: str, ids: list[int]) -> bool:
        unknown = self._vocabulary.unknown
        if unknown is None or unknown not in ids:
            return False
        # where the BOS token is the same one, or the prompt spells it out, it stands for itself
        itself = prompt.count(self._vocabulary.text(unknown).strip()) + (ids[0] == unknown and self._puts_bos)
        return ids.count(unknown) > itself

    @cached_property
    def _puts_bos(self) -> bool:
        """Whether a BOS token is put before each prompt."""
        encode = self._vocabulary.encode
        return encode is not None and len(encode("a", self._prepend_bos)) > len(encode("a", False))


def _missing(name: str, asked: Mapping[str, int]) -> str:
    if name == "incorrect" and "answer" in asked:
        return _NO_INCORRECT
    return f"The row has no {name!r}. Give the token, as its text or its id."


def _answer(given: Continuations, row: CorpusRow) -> Continuations:
    """An answer of several tokens: that of a row, or the same for all."""
    if not isinstance(given, Column):
        return given
    value = row.values.get(given.name)
    if is_missing(value):
        raise ValueError(f"The row has no {given.name!r}. Give the answer, as its text or a list of ids.")
    if isinstance(value, str):
        return [value]
    ids = items(value)
    return [[_whole(each, f"{given.name!r}, an id") for each in ([value] if ids is None else ids)]]


def _place(position: Any, length: int) -> int:
    if isinstance(position, str):
        try:
            position = int(position)
        except ValueError:
            raise ValueError(
                f"The position is {shown(position)}. Give a whole number, or nothing for the last."
            ) from None
    place = _whole(position, "'position', a whole number")
    if not -length <= place < length:
        raise ValueError(
            f"pos={shown(place)} is out of range for a prompt of {length} tokens (from {-length} to {length - 1})."
        )
    return place % length


def _whole(value: Any, what: str) -> int:
    """A whole number; a column with nothing in some rows may hold it as a fraction."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise TypeError(f"The row has {shown(value)}, of type {type(value).__name__}, for {what}.")
    return int(value)

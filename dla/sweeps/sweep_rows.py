"""From a row of the corpus to token ids, or to the reason why it is rejected."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, final

import numpy as np
from jaxtyping import Int

from dla.adapters.base import ModelAdapter
from dla.inputs.given import shown
from dla.sweeps.corpora import CorpusRow, is_missing
from dla.sweeps.rejections import RejectedRow

_REMEMBERED = 65536
"""How many answers are remembered with their token ids; a corpus has few, and a tokenizer is slow."""

_NO_INCORRECT = (
    "The row has no 'incorrect' token while other rows of the corpus have one, and logits are not averaged with "
    "differences of logits. Give it one, or sweep such rows by themselves."
)


@final
@dataclass(frozen=True, eq=False)
class SweepRow:
    """One prompt and what is asked of it.

    No token of a causal model sees what follows it, so the prompt is cut after the position that is asked about: for
    each row that is the last one.

    Attributes:
        source: The row of the corpus.
        ids: The prompt's token ids up to the position.
        tokens: How many tokens the whole prompt has.
        answer: The token whose logit is asked for.
        incorrect: The token whose logit is subtracted, or None.
        unknown: Whether some of those ids stand for text that the model does not know.
    """

    source: CorpusRow = field(repr=False)
    ids: Int[np.ndarray, " token"] = field(repr=False)
    tokens: int
    answer: int
    incorrect: int | None
    unknown: bool = False

    @property
    def number(self) -> int:
        """The place in the corpus."""
        return self.source.number

    @property
    def at(self) -> int:
        """The position that is asked about."""
        return len(self.ids) - 1


@final
class RowTokenizer:
    """Turns the rows of a corpus into token ids, with one model's vocabulary."""

    def __init__(self, model: ModelAdapter, prepend_bos: bool | None, compares: bool) -> None:
        """Reads nothing yet.

        Args:
            model: The model.
            prepend_bos: Whether the BOS token is put in front; None does as the model does by default.
            compares: Whether the corpus asks for differences of logits; then a row without `incorrect` is rejected.
        """
        self._vocabulary, self._context = model.vocabulary, model.context
        self._prepend_bos, self._compares = prepend_bos, compares
        self._token = lru_cache(_REMEMBERED)(self._vocabulary.token)

    def read(self, rows: Sequence[CorpusRow]) -> tuple[list[SweepRow], list[RejectedRow]]:
        """The rows that can be asked, and those that are rejected, each with the reason."""
        read, rejected = [], []
        for row in rows:
            try:
                read.append(self._row(row))
            except (ValueError, TypeError) as error:
                rejected.append(RejectedRow(row, str(error)))
        return read, rejected

    def _row(self, row: CorpusRow) -> SweepRow:
        if row.fault:
            raise ValueError(row.fault)
        prompt, position = row.values.get("prompt"), row.values.get("position")
        if not isinstance(prompt, str):
            raise TypeError(f"The prompt is {shown(prompt)}, of type {type(prompt).__name__}. A prompt is a text.")
        ids = self._vocabulary.prompt(prompt, self._prepend_bos)
        answer, incorrect = self._token_of(row, "answer"), self._token_of(row, "incorrect")
        end = len(ids) if is_missing(position) else 1 + _place(position, len(ids))
        if self._context is not None and end > self._context:
            raise ValueError(
                f"The prompt has {end} tokens up to the position asked about and the model's context is "
                f"{self._context}. Shorten it."
            )
        if answer is None:
            raise ValueError("The row has no 'answer'. Give the token, as its text or its id.")
        if self._compares and incorrect is None:
            raise ValueError(_NO_INCORRECT)
        if answer == incorrect:
            raise ValueError(
                f"'answer' and 'incorrect' are the same token ({self._vocabulary.text(answer)!r}), and the difference "
                "of a logit from itself is zero. Give two tokens."
            )
        unknown = self._has_unknown(prompt, ids[:end])
        return SweepRow(row, np.array(ids[:end], dtype=np.int64), len(ids), answer, incorrect, unknown)

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

    def _token_of(self, row: CorpusRow, name: str) -> int | None:
        token = row.values.get(name)
        if is_missing(token):
            return None
        return self._token(token if isinstance(token, str) else _whole(token, f"{name!r}, a token's text or its id"))


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

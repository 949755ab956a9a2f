"""Prompts with what is asked about put behind them: texts or ids of any number of tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar, final

import numpy as np
import torch
from torch import Tensor

from dla.inputs.columns import Column
from dla.inputs.given import ids_in, items, shown, whole_number
from dla.inputs.positions import Positions
from dla.inputs.prompts import Mask, Prompts, Text, packed, read_prompts, texts_of
from dla.inputs.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pandas as pd

    Continuations = str | Sequence[str] | Sequence[Sequence[int]] | Tensor | np.ndarray | pd.Series | Column
else:  # a type checker at run time would refuse a wrong argument before `read_continuations` can explain what is wrong
    Continuations = object

_Given = TypeVar("_Given", str, list[int])
_SHOWN = 6
"""How many tokens of a text an error lists."""


@final
@dataclass(frozen=True, eq=False)
class Continued:
    """Prompts that go on with what is asked about.

    Attributes:
        prompts: Each prompt with its continuation behind it.
        starts: How many tokens of each come before it.
    """

    prompts: Prompts
    starts: tuple[int, ...]

    def after(self) -> list[list[int]]:
        """The ids of each continuation."""
        return [row[start:] for row, start in zip(self.prompts.rows(), self.starts, strict=True)]

    def positions(self) -> Positions:
        """The position before each token of the continuations: there the model says what comes next."""
        sizes = [len(row) for row in self.after()]
        asked = torch.arange(max(sizes), device="cpu")
        valid = asked < torch.tensor(sizes, device="cpu")[:, None]
        index = torch.tensor(self.starts, device="cpu")[:, None] - 1 + asked
        return Positions(index.where(valid, 0), valid, single=False, everything=False)


@final
@dataclass(frozen=True)
class Given:
    """Continuations as they were passed.

    Attributes:
        each: Texts or ids: one, or one for each prompt.
        shared: Whether it is one for all prompts.
    """

    each: list[str | list[int]]
    shared: bool


def read_continuations(given: Continuations) -> Given:
    """One continuation for all prompts, as text or as ids, or a list with one for each.

    Raises:
        TypeError: If it is none of these.
        ValueError: If one is empty, or a list of ids could be one continuation or one token for each prompt.
    """
    if isinstance(given, Column):
        raise ValueError(
            f"{given} is a column of a corpus, and these prompts are not of one. Pass a text; dla.sweep asks with the "
            "column of each row."
        )
    if isinstance(given, str):
        return Given([_full(str(given), "The continuation")], shared=True)
    ids = ids_in(given)
    if ids is not None:
        if ids.ndim not in (1, 2) or not ids.numel():
            raise ValueError(
                f"The ids of the continuation have shape {list(ids.shape)}. Pass [token] for one continuation of all "
                "prompts, or [batch, token]."
            )
        return Given(torch.atleast_2d(ids).tolist(), shared=ids.ndim == 1)
    several = items(given)
    if several is None:
        raise TypeError(f"The continuation is {shown(given)}. Pass a text, a list of texts, or ids.")
    if not several:
        raise ValueError("No continuation was given: the list is empty. Pass one, or one for each prompt.")
    if whole_number(several[0]) is not None:
        raise ValueError(
            f"The continuation {shown(given)} is a list of ids, which could be one continuation or one token for each "
            "prompt. Pass a tensor [token] for one, or a list of lists for each prompt."
        )
    return Given([_one(each, f"The continuation of prompt {i}") for i, each in enumerate(several)], shared=False)


def continued(
    prompts: Text | Tensor | Prompts | None,
    continuations: Continuations,
    vocabulary: Vocabulary,
    attention_mask: Mask = None,
    prepend_bos: bool | None = None,
) -> Continued:
    """Prompts with continuations behind them, as the model's tokenizer reads both together.

    A text behind a text is tokenized as one text with it, and must leave the prompt's own tokens as they are. Where one
    of the two is ids, the other is tokenized by itself.

    Args:
        prompts: As in `read_prompts`.
        continuations: As in `read_continuations`.
        vocabulary: The model's.
        attention_mask: As in `read_prompts`.
        prepend_bos: As in `read_prompts`.

    Raises:
        TypeError: As `read_prompts` and `read_continuations`.
        ValueError: As these; if there are not as many continuations as prompts, the prompt has other tokens when the
            continuation stands behind it, or the model does not know a token of it.
    """
    if prompts is None:
        raise ValueError("A continuation goes on from a prompt, and none was given. Pass the prompts too.")
    before = read_prompts(prompts, vocabulary, attention_mask, prepend_bos).rows()
    texts = None
    if not isinstance(prompts, Prompts | Mapping):
        texts, prepend_bos = texts_of(prompts, vocabulary, prepend_bos)
    read = read_continuations(continuations)
    several = read.each * len(before) if read.shared else read.each
    if len(several) != len(before):
        raise ValueError(
            f"There are {len(several)} continuations and {len(before)} prompts. Pass one continuation for all prompts, "
            "or one for each."
        )
    rows = []
    for i, (row, text) in enumerate(zip(before, several, strict=True)):
        if isinstance(text, str) and texts is not None:
            whole = vocabulary.prompt(texts[i] + text, prepend_bos)
            _check_join(i, (texts[i], text), row, whole, vocabulary)
        else:
            whole = [*row, *(vocabulary.prompt(text, False) if isinstance(text, str) else text)]
        _check_known(text, whole[len(row) :], vocabulary)
        rows.append(whole)
    starts = tuple(map(len, before))
    return Continued(replace(packed(rows, vocabulary), starts=starts), starts)


def _one(given: object, what: str) -> str | list[int]:
    if isinstance(given, str):
        return _full(str(given), what)
    ids = [whole_number(item) for item in items(given) or []]
    if items(given) is None or None in ids:
        raise TypeError(f"{what} is {shown(given)}. Pass a text, or a list of ids.")
    return _full([one for one in ids if one is not None], what)


def _full(given: _Given, what: str) -> _Given:
    if not given:
        raise ValueError(f"{what} is empty ({shown(given)}). Pass at least one token.")
    return given


def _check_join(i: int, texts: tuple[str, str], row: list[int], whole: list[int], vocabulary: Vocabulary) -> None:
    """Refuses a continuation that changes the tokens of its prompt."""
    if whole[: len(row)] == row and len(whole) > len(row):
        return
    same = next((place for place, pair in enumerate(zip(row, whole, strict=False)) if pair[0] != pair[1]), len(row))
    first = max(0, same - 2)

    def told(ids: list[int]) -> str:
        pieces = [repr(vocabulary.text(one)) for one in ids[first : first + _SHOWN]]
        return ", ".join(["..."] * (first > 0) + pieces + ["..."] * (len(ids) > first + _SHOWN))

    space = texts[0] != texts[0].rstrip()
    raise ValueError(
        f"The continuation {shown(texts[1])} changes the tokens of prompt {i}, {shown(texts[0])}: alone it is "
        f"{told(row)}, and together they are {told(whole)}. "
        + (
            "Put the space at the prompt's end in front of the continuation."
            if space
            else "Let the continuation begin where a token begins, mostly with a space, or pass ids."
        )
    )


def _check_known(given: str | list[int], ids: Sequence[int], vocabulary: Vocabulary) -> None:
    """Refuses what no logit belongs to, and what the model cannot read."""
    size = min(vocabulary.size, vocabulary.input_size)
    for one in ids:
        if not 0 <= one < size:
            raise ValueError(f"Token id {shown(one)} of the continuation is outside the vocabulary (0 to {size - 1}).")
    if isinstance(given, str) and vocabulary.unknown in ids:
        instead = vocabulary.text(vocabulary.unknown or 0)
        if instead.strip() not in given:
            raise ValueError(
                f"The continuation {shown(given)} holds a word that is not in the model's vocabulary (it becomes "
                f"{instead!r}). Pass words that the model knows, or ids."
            )

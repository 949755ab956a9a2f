"""Prompts as token ids, and the positions that are attributed.

Prompts of unequal lengths are always padded on the right, whichever side the tokenizer pads: in a causal model no real
token sees what follows it, so each row is that of the prompt run alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from dla.errors import PromptWarning, warn_caller
from dla.inputs.arguments import flag
from dla.inputs.chats import chats_in
from dla.inputs.columns import Column
from dla.inputs.given import items, shown, whole_number
from dla.inputs.padding import filler_of, ids_and_mask, rows_of_ids
from dla.inputs.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pandas as pd

    Chat = Sequence[Mapping[str, str]]
    Texts = str | Sequence[str] | Chat | Sequence[Chat] | pd.Series
    Text = Texts | Sequence[int] | Sequence[Sequence[int]] | Mapping[str, Any] | np.ndarray
    Position = int | slice | Sequence[int] | np.ndarray | Tensor | None
    Mask = Tensor | np.ndarray | Sequence[int] | Sequence[Sequence[int]] | None
else:  # a type checker at run time would refuse a wrong argument before `read_prompts` can explain what is wrong
    Text = Position = Mask = object


@final
@dataclass(frozen=True, eq=False)
class Prompts:
    """A batch of prompts.

    Attributes:
        tokens: The ids, padded on the right.
        lengths: How many tokens of each row are real.
        vocabulary: The model's.
        known: Whether `tokens` are the prompts' ids. A cache alone does not say which ids it was made from.
        answers: The logits that the model returned at the attributed positions, where a direction needs them.
        starts: How many tokens of each are the prompt itself, where it goes on with what is asked about.
        one_of: Which prompt of how many this one is, where it was asked together with others.
        spans: The positions of named spans in each prompt, where the prompts came with some.
        columns: The token of each prompt in some columns of a corpus, where the prompts are rows of one.
    """

    tokens: Int[Tensor, "batch pos"]
    lengths: tuple[int, ...]
    vocabulary: Vocabulary
    known: bool = True
    answers: Float[Tensor, "batch query d_vocab"] | None = None
    starts: tuple[int, ...] | None = None
    one_of: tuple[int, int] | None = None
    spans: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    columns: Mapping[str, Int[Tensor, " batch"]] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        """The number of prompts."""
        return len(self.lengths)

    def answered(self) -> Float[Tensor, "batch query d_vocab"]:
        """The logits that the model returned at the attributed positions.

        Raises:
            ValueError: If the direction did not say beforehand that it needs them.
        """
        if self.answers is None:
            raise ValueError(
                "What the model answers is not known here, since that takes one more pass. A direction that depends on "
                "it says so beforehand: set `needs_answers = True` in its class."
            )
        return self.answers

    def column(self, column: Column) -> Int[Tensor, " batch"]:
        """The token of each prompt in a column of a corpus.

        Raises:
            ValueError: If the prompts are no rows of a corpus.
        """
        if column.name not in self.columns:
            raise ValueError(
                f"{column} is a column of a corpus, and these prompts are not of one. Pass a token; dla.sweep asks "
                "with the column of each row."
            )
        return self.columns[column.name]

    def texts(self) -> list[list[str]]:
        """Each prompt's tokens as text, without the padding."""
        return [[self.vocabulary.text(token) for token in row] for row in self.rows()] if self.known else []

    def rows(self) -> list[list[int]]:
        """Each prompt's ids, without the padding."""
        return [row[:length] for row, length in zip(self.tokens.tolist(), self.lengths, strict=True)]


@final
@dataclass(frozen=True, eq=False)
class Positions:
    """The attributed positions, counted in each prompt's own tokens.

    Attributes:
        index: The positions, from each prompt's first real token.
        valid: False where a short prompt has no such position.
        single: Whether `pos` was a single number, so that results have no axis of positions.
        everything: Whether `index` is every position of every row.
    """

    index: Int[Tensor, "batch query"]
    valid: Bool[Tensor, "batch query"]
    single: bool
    everything: bool


def read_prompts(
    prompts: Text | Shaped[Tensor, "..."] | Prompts,
    vocabulary: Vocabulary,
    attention_mask: Mask = None,
    prepend_bos: bool | None = None,
) -> Prompts:
    """Prompts from text or from ids.

    Args:
        prompts: A string or several; a chat or several, each a list of messages; ids, as a tensor or array `[pos]` or
            `[batch pos]`, a list, or a list of lists; or what a tokenizer returned, with its mask. `Prompts` are
            returned as they are.
        vocabulary: The model's.
        attention_mask: For ids with padding: 1 (or True) at real tokens, 0 at padding, in the form of the ids.
        prepend_bos: For text: whether to put the BOS token in front; None for the model's default, but never a second
            one.

    Raises:
        TypeError: If ids are not integers, or prompts are neither text nor ids.
        ValueError: If there is no prompt, a prompt is empty, an id is outside the vocabulary, the mask does not fit, or
            an id may be padding or text.

    Warns:
        PromptWarning: If the model does not know a word, or the ids begin with BOS twice.
    """
    if isinstance(prompts, Prompts):
        return prompts
    flag(prepend_bos, "prepend_bos", "the model's default")
    if isinstance(prompts, Mapping):
        prompts, attention_mask = ids_and_mask(prompts, attention_mask)
    texts, prepend_bos = texts_of(prompts, vocabulary, prepend_bos)
    if texts is None:
        if prepend_bos:
            raise ValueError(
                "prepend_bos=True is for text; ids are taken as they are. Put the BOS token's id in front."
            )
        rows = rows_of_ids(prompts, attention_mask, vocabulary)
        _warn_of_two_bos(rows, vocabulary)
        return packed(rows, vocabulary)
    if attention_mask is not None:
        raise ValueError("attention_mask says which ids are padding; with prompts given as text, leave it out.")
    rows = [vocabulary.prompt(text, prepend_bos) for text in texts]
    _warn_of_unknown_words(texts, rows, vocabulary)
    return packed(rows, vocabulary)


def unknown_prompts(batch: int, width: int, vocabulary: Vocabulary) -> Prompts:
    """Prompts whose ids are not known, only their sizes.

    Args:
        batch: How many there are.
        width: How many tokens each has.
        vocabulary: The model's.
    """
    return Prompts(torch.zeros(batch, width, dtype=torch.long, device="cpu"), (width,) * batch, vocabulary, known=False)


def read_positions(pos: Position, prompts: Prompts) -> Positions:
    """The positions that `pos` names in each prompt.

    Args:
        pos: An int or a list of ints (negative ones count from each prompt's last real token), a slice of each
            prompt's tokens, or None for all: the same for every prompt. Or a tensor or an array `[batch]` with one for
            each prompt, or `[batch, query]` with several.
        prompts: The prompts.

    Raises:
        TypeError: If `pos` is something else.
        ValueError: If a prompt has no such position, or no position is selected.
    """
    single, rows = (
        _of_each(pos, prompts)
        if isinstance(pos, np.ndarray | Tensor) and items(pos) is not None and not getattr(pos, "is_nested", False)
        else _of_all(pos, prompts)
    )
    kept = max(len(row) for row in rows)
    if kept == 0:
        raise ValueError(f"pos={shown(pos)} selects no position of prompts with {list(prompts.lengths)} tokens.")
    # A slice may give prompts different numbers of positions. The rest of a row points at position 0, and is not valid.
    index = torch.tensor([row + [0] * (kept - len(row)) for row in rows], device="cpu")
    valid = torch.tensor([[True] * len(row) + [False] * (kept - len(row)) for row in rows], device="cpu")
    width = prompts.tokens.shape[1]
    everything = kept == width and all(row == list(range(width)) for row in rows)
    return Positions(index, valid, single, everything)


def texts_of(prompts: object, vocabulary: Vocabulary, prepend_bos: bool | None) -> tuple[list[str] | None, bool | None]:
    """The prompts if they are text or chats, and whether BOS is put in front; None if they may be ids.

    Args:
        prompts: As in `read_prompts`.
        vocabulary: The model's.
        prepend_bos: As in `read_prompts`. A chat's template says itself how the chat begins.

    Raises:
        TypeError: If they are neither, or a message is none.
        ValueError: If there is no prompt, or no template for a chat.
    """
    chats = chats_in(prompts, vocabulary)
    return (_texts(prompts), prepend_bos) if chats is None else (chats, bool(prepend_bos))


def _texts(prompts: object) -> list[str] | None:
    """The prompts if they are text; None if they may be ids.

    Raises:
        TypeError: If they are neither.
        ValueError: If there is no prompt.
    """
    if isinstance(prompts, str):
        return [str(prompts)]
    # NumPy's arrays of objects (O) or texts (U, T) may hold text; all other arrays hold ids.
    if isinstance(prompts, Tensor) or (isinstance(prompts, np.ndarray) and prompts.dtype.kind not in "OUT"):
        return None
    given = items(prompts)
    if given is None:
        raise TypeError(f"The prompts are {shown(prompts)}. Pass a string, several in a list, or token ids.")
    if not given:
        raise ValueError("The list of prompts is empty. Pass at least one prompt.")
    if not any(isinstance(text, str) for text in given):
        return None
    for i, text in enumerate(given):
        if not isinstance(text, str):
            raise TypeError(f"Prompt {i} is {shown(text)}, next to others that are text. Pass strings, or token ids.")
    return [str(text) for text in given]


def _warn_of_two_bos(rows: Sequence[Sequence[int]], vocabulary: Vocabulary) -> None:
    """Warns about ids that begin with BOS twice, as a chat template does when its text is tokenized with BOS again."""
    twice = [i for i, row in enumerate(rows) if vocabulary.bos is not None and row[:2] == [vocabulary.bos] * 2]
    if twice:
        warn_caller(
            f"The ids of prompt {twice[0]} begin with {vocabulary.text(vocabulary.bos or 0)!r} twice, and the model "
            "reads both. Tokenize a text that holds it with add_special_tokens=False, or pass the text.",
            PromptWarning,
        )


def _warn_of_unknown_words(texts: Sequence[str], rows: Sequence[Sequence[int]], vocabulary: Vocabulary) -> None:
    """Warns, once for all prompts, about the words that the model does not know."""
    found = []
    for i, (text, row) in enumerate(zip(texts, rows, strict=True)):
        words = vocabulary.unknown_words(text) if vocabulary.unknown in row else []
        if words:
            places = [place for place, token in enumerate(row) if token == vocabulary.unknown]
            found.append(f"{', '.join(map(repr, words[:5]))} (prompt {i}, position {', '.join(map(str, places[:5]))})")
    if found:
        more = f", and words of {len(found) - 3} more prompts" if len(found) > 3 else ""
        instead = vocabulary.text(vocabulary.unknown or 0)
        warn_caller(f"The model does not know {'; '.join(found[:3])}{more}: it reads {instead!r} there.", PromptWarning)


def _wanted(pos: Position) -> tuple[bool, slice | list[int]]:
    """Whether `pos` is a single position, and the positions."""
    if pos is None:
        return False, slice(None)
    if isinstance(pos, slice):
        if any(whole_number(end) is None for end in (pos.start, pos.stop, pos.step) if end is not None):
            raise TypeError(f"pos={pos!r}: the ends and the step of a slice are whole numbers or None.")
        if pos.step is not None and int(pos.step) == 0:
            raise ValueError(f"pos={pos!r}: the step of a slice is not zero.")
        return False, pos
    one, several = whole_number(pos), items(pos)
    if one is not None:
        return True, [one]
    return False, [_place(pos)] if several is None else [_place(item) for item in several]


def _of_all(pos: Position, prompts: Prompts) -> tuple[bool, list[list[int]]]:
    """Whether `pos` is a single position, and the positions of each prompt that it names in all of them."""
    single, wanted = _wanted(pos)
    if isinstance(wanted, slice):
        return single, [list(range(*wanted.indices(length))) for length in prompts.lengths]
    return single, [[_within(p, length) for p in wanted] for length in prompts.lengths]


def _of_each(pos: Shaped[Tensor, "..."] | np.ndarray, prompts: Prompts) -> tuple[bool, list[list[int]]]:
    """Whether there is one position for each prompt, and the positions of each."""
    shape = list(pos.shape)
    if len(shape) > 2 or shape[0] != prompts.batch or 0 in shape:
        raise ValueError(
            f"pos has shape {shape}. A tensor or an array is one position for each of {prompts.batch} prompts, "
            f"[{prompts.batch}], or several, [{prompts.batch}, query]. For the same positions of each pass a list."
        )
    rows = [items(row) if len(shape) == 2 else [row] for row in items(pos) or []]
    found = [
        [_within(_place(one), length) for one in row or []] for row, length in zip(rows, prompts.lengths, strict=True)
    ]
    return len(shape) == 1, found


def _place(value: object) -> int:
    one = whole_number(value)
    if one is None:
        raise TypeError(f"pos: {shown(value)} is not a position. Pass an int, several, a slice, or None for all.")
    return one


def _within(position: int, length: int) -> int:
    if not -length <= position < length:
        raise ValueError(
            f"pos={shown(position)} is out of range for a prompt of {length} tokens (from {-length} to {length - 1})."
        )
    return position % length


def packed(rows: Sequence[list[int]], vocabulary: Vocabulary) -> Prompts:
    """Prompts of these ids, padded on the right.

    Raises:
        ValueError: If a row has no token.
    """
    lengths = tuple(len(row) for row in rows)
    if 0 in lengths:
        raise ValueError(f"Prompt {lengths.index(0)} has no real token. Leave it out, or give it at least one.")
    width = max(lengths)
    tokens = torch.tensor([row + [filler_of(vocabulary)] * (width - len(row)) for row in rows], device="cpu")
    return Prompts(tokens, lengths, vocabulary)

"""Prompts as token ids.

Prompts of unequal lengths are always padded on the right, whichever side the tokenizer pads: in a causal model no real
token sees what follows it, so each row is that of the prompt run alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from dla.errors import PromptWarning, warn_caller
from dla.inputs.arguments import flag
from dla.inputs.chats import chats_in
from dla.inputs.columns import Column
from dla.inputs.given import items, shown
from dla.inputs.padding import filler_of, ids_and_mask, rows_of_ids
from dla.inputs.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pandas as pd

    Chat = Sequence[Mapping[str, str]]
    Texts = str | Sequence[str] | Chat | Sequence[Chat] | pd.Series
    Text = Texts | Sequence[int] | Sequence[Sequence[int]] | Mapping[str, Any] | np.ndarray
    Mask = Tensor | np.ndarray | Sequence[int] | Sequence[Sequence[int]] | None
else:  # a type checker at run time would refuse a wrong argument before `read_prompts` can explain what is wrong
    Text = Mask = object


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

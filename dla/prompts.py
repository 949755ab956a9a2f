"""Prompts as token ids, and the positions that are asked about.

Prompts of unequal lengths are always packed to the left and filled up on the right: no real token of a causal
model can see what follows it, so each row equals that of the prompt run alone, whatever side its tokenizer pads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dla.vocabulary import Vocabulary

Text = str | Sequence[str]
Position = int | slice | Sequence[int] | None


@final
class AnswersNeeded(Exception):
    """What is asked depends on what the model answers, and the model was not run yet."""


@final
@dataclass(frozen=True, eq=False)
class Prompts:
    """A batch of prompts.

    Attributes:
        tokens: `[batch pos]`, filled up on the right.
        lengths: How many tokens of each row are real.
        vocabulary: Where the ids come from.
        known: Whether `tokens` are the prompts' ids. A cache alone does not say which ids it was made from.
        answers: The logits that the model returned at the positions asked about, where a direction wants them.
    """

    tokens: Int[Tensor, "batch pos"]
    lengths: tuple[int, ...]
    vocabulary: Vocabulary
    known: bool = True
    answers: Float[Tensor, "batch kept d_vocab"] | None = None

    @property
    def batch(self) -> int:
        """The number of prompts."""
        return len(self.lengths)

    def answered(self) -> Float[Tensor, "batch kept d_vocab"]:
        """What the model answered at the positions asked about.

        Raises:
            AnswersNeeded: If it was not asked yet; whoever wants the direction runs the model and tries again.
        """
        if self.answers is None:
            raise AnswersNeeded
        return self.answers

    def texts(self) -> list[list[str]]:
        """Each prompt's tokens as text, without the padding."""
        if not self.known:
            return []
        rows = zip(self.tokens.tolist(), self.lengths, strict=True)
        return [[self.vocabulary.text(token) for token in row[:length]] for row, length in rows]


@final
@dataclass(frozen=True, eq=False)
class Positions:
    """The positions asked about, counted in each prompt's own tokens.

    Attributes:
        index: `[batch kept]`, from each prompt's first real token.
        valid: `[batch kept]`; False where a short prompt has no such position.
        single: Whether one position a prompt was asked for, so that the axis is dropped from results.
        everything: Whether `index` is simply every position of every row.
    """

    index: Int[Tensor, "batch kept"]
    valid: Bool[Tensor, "batch kept"]
    single: bool
    everything: bool


def read_prompts(
    prompts: Text | Tensor,
    vocabulary: Vocabulary,
    attention_mask: Tensor | None = None,
    prepend_bos: bool | None = None,
) -> Prompts:
    """Prompts from text or from ids.

    Args:
        prompts: A string, a list of strings, or ids `[pos]` or `[batch pos]`.
        vocabulary: The model's.
        attention_mask: For ids with padding: 1 (or True) at real tokens, 0 at padding, `[batch pos]`.
        prepend_bos: For text: whether to put the BOS token in front; None does as the model does by default.

    Raises:
        TypeError: If ids are not integers, or prompts are neither text nor a tensor.
        ValueError: If there is no prompt, a prompt is empty, an id is outside the vocabulary, the mask does not fit.
    """
    if isinstance(prompts, Tensor):
        return _pack(_rows_of_ids(prompts, attention_mask, vocabulary), vocabulary)
    if attention_mask is not None:
        raise ValueError("attention_mask says which ids are padding; with prompts given as text, leave it out.")
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not texts:
        raise ValueError("The list of prompts is empty. Pass at least one prompt.")
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(
                f"A prompt is {text!r}, of type {type(text).__name__}. Pass strings, or one tensor of token ids."
            )
    return _pack([vocabulary.prompt(text, prepend_bos) for text in texts], vocabulary)


def unknown_prompts(batch: int, width: int, vocabulary: Vocabulary) -> Prompts:
    """Prompts of which only the sizes are known."""
    return Prompts(torch.zeros(batch, width, dtype=torch.long), (width,) * batch, vocabulary, known=False)


def read_positions(pos: Position, prompts: Prompts) -> Positions:
    """The positions that `pos` names in each prompt.

    Args:
        pos: An int or a sequence of ints (negative ones count from each prompt's last real token), a slice of each
            prompt's tokens, or None for all.
        prompts: The prompts.

    Raises:
        ValueError: If a prompt has no such position, or the selection is empty.
    """
    if pos is None:
        pos = slice(None)
    if isinstance(pos, slice):
        rows = [list(range(*pos.indices(length))) for length in prompts.lengths]
    else:
        wanted = [pos] if isinstance(pos, int) else [int(p) for p in pos]
        rows = [[_within(p, length) for p in wanted] for length in prompts.lengths]
    kept = max(len(row) for row in rows)
    if kept == 0:
        raise ValueError(f"pos={pos!r} selects no position of prompts with {list(prompts.lengths)} tokens.")
    index = torch.tensor([row + [0] * (kept - len(row)) for row in rows])
    valid = torch.tensor([[True] * len(row) + [False] * (kept - len(row)) for row in rows])
    width = prompts.tokens.shape[1]
    everything = kept == width and all(row == list(range(width)) for row in rows)
    return Positions(index, valid, isinstance(pos, int), everything)


def _within(position: int, length: int) -> int:
    if not -length <= position < length:
        raise ValueError(
            f"pos={position} is out of range for a prompt of {length} tokens (from {-length} to {length - 1})."
        )
    return position % length


def _rows_of_ids(ids: Tensor, mask: Tensor | None, vocabulary: Vocabulary) -> list[list[int]]:
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TypeError(f"Token ids must be integers; the tensor has dtype {ids.dtype}. Pass `tokens.long()`.")
    if ids.ndim not in (1, 2):
        raise ValueError(f"Token ids have shape {tuple(ids.shape)}; pass [pos] or [batch, pos].")
    ids = ids[None] if ids.ndim == 1 else ids
    if ids.numel() == 0:
        raise ValueError(f"The token tensor is empty, of shape {tuple(ids.shape)}. Pass at least one token.")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocabulary.input_size:
        raise ValueError(
            f"Token id {low if low < 0 else high} is outside the vocabulary (0 to {vocabulary.input_size - 1})."
        )
    if mask is None:
        return _without_padding(ids, vocabulary)
    mask = mask[None] if mask.ndim == 1 else mask
    if mask.shape != ids.shape:
        raise ValueError(f"attention_mask has shape {tuple(mask.shape)}, the tokens {tuple(ids.shape)}.")
    return [row[keep.bool()].tolist() for row, keep in zip(ids, mask, strict=True)]


def _without_padding(ids: Tensor, vocabulary: Vocabulary) -> list[list[int]]:
    """Cuts off runs of a token that can only be padding; refuses to guess where it may be text."""
    rows: list[list[int]] = ids.tolist()
    if len(rows) == 1 or vocabulary.decode is None:
        return rows
    padded = [row[-1] == vocabulary.pad or row[:2] == [vocabulary.pad] * 2 for row in rows]
    if not any(padded) or all(padded):
        return rows
    if vocabulary.pad_is_text:
        raise ValueError(
            f"Row {padded.index(True)} begins or ends in the token {vocabulary.text(vocabulary.pad)!r}, which this "
            "tokenizer uses both for padding and for text. Pass the prompts as strings, or an attention_mask "
            "that says which tokens are real."
        )
    return [_strip(row, vocabulary.pad) for row in rows]


def _strip(row: list[int], pad: int) -> list[int]:
    start, end = 0, len(row)
    while end > start and row[end - 1] == pad:
        end -= 1
    while start < end and row[start] == pad:
        start += 1
    return row[start:end]


def _pack(rows: Sequence[list[int]], vocabulary: Vocabulary) -> Prompts:
    lengths = tuple(len(row) for row in rows)
    if 0 in lengths:
        raise ValueError(f"Prompt {lengths.index(0)} has no real token. Leave it out, or give it at least one.")
    width = max(lengths)
    tokens = torch.tensor([row + [vocabulary.pad] * (width - len(row)) for row in rows])
    return Prompts(tokens, lengths, vocabulary)

"""Each prompt's own token ids, without padding. Where ids may be padding or text, that is refused and not guessed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import Tensor

from dla.inputs.given import ids_in, items, number, shown, whole_number
from dla.inputs.vocabulary import Vocabulary

# A tokenizer's output may hold these. They would change the run, and are not supported.
_IGNORED = ("position_ids", "inputs_embeds", "past_key_values")


def ids_and_mask(prompts: Mapping[str, Any], mask: object) -> tuple[Any, Any]:
    """The ids and the mask of what a tokenizer returned.

    Raises:
        TypeError: If it holds no ids.
        ValueError: If there are two masks, or it holds what is not supported.
    """
    if prompts.get("input_ids") is None:
        names = ", ".join(map(shown, list(prompts)[:4])) or "nothing"
        if "role" in prompts:
            raise TypeError("The prompt is one message of a chat. Pass a chat as a list of messages: [message].")
        raise TypeError(
            f"The prompts are a {type(prompts).__name__} that holds {names}, and no 'input_ids'. Pass what the "
            "tokenizer returned, strings, or token ids."
        )
    for name in _IGNORED:
        if prompts.get(name) is not None:
            raise ValueError(f"The prompts hold {name!r}, which is not read here. Pass input_ids and attention_mask.")
    own = prompts.get("attention_mask")
    if own is not None and mask is not None:
        raise ValueError("The prompts hold an attention_mask, and another is given besides. Leave one of them out.")
    return prompts["input_ids"], mask if own is None else own


def rows_of_ids(ids: object, mask: object, vocabulary: Vocabulary) -> list[list[int]]:
    """Each prompt's ids without padding.

    Args:
        ids: A tensor or an array `[pos]` or `[batch pos]`; a list of ids, or of lists of any lengths.
        mask: Which ids are real, in the same form; None where there is no padding, or none that may be text.
        vocabulary: The model's.

    Raises:
        TypeError: If ids are not whole numbers.
        ValueError: If there is no id, one is outside the vocabulary, the mask does not fit, or an id may be padding or
            text.
    """
    rows = _rows(ids)
    if mask is not None:
        rows = _masked(rows, _rows_of_mask(mask, rows))
    elif vocabulary.decode is not None:
        rows = _without_padding(rows, vocabulary)
    for i, row in enumerate(rows):
        if not row:
            raise ValueError(f"Prompt {i} has no real token. Leave it out, or give it at least one.")
        for extreme in (min(row), max(row)):  # if these are in the vocabulary, all are
            if not 0 <= extreme < vocabulary.input_size:
                raise ValueError(
                    f"Token id {shown(extreme)} is outside the vocabulary (0 to {vocabulary.input_size - 1}). Pass ids "
                    "of the model's own tokenizer."
                )
    return rows


def filler_of(vocabulary: Vocabulary) -> int:
    """The id that pads short prompts: the tokenizer's, or 0 if the model cannot embed that."""
    return vocabulary.pad if 0 <= vocabulary.pad < vocabulary.input_size else 0


def first_doubtful(rows: Sequence[Sequence[int]], vocabulary: Vocabulary) -> int | None:
    """The index of the first prompt that may be padded; None if there is none.

    A padding token that is also text counts only at the ends, and not where it is one BOS in front of every prompt.
    """
    if not vocabulary.pad_is_text:
        return next((i for i, row in enumerate(rows) if vocabulary.pad in row), None)
    leading, ending = zip(*(_ends(row, vocabulary.pad) for row in rows), strict=True)
    # Where BOS also pads (as in GPT-2), exactly one in front of every prompt is BOS; more or fewer may be padding.
    begun = vocabulary.pad == vocabulary.bos and set(leading) == {1}
    return next((i for i in range(len(rows)) if (leading[i] and not begun) or ending[i]), None)


def _rows(ids: object) -> list[list[int]]:
    tensor = ids_in(ids)
    return _rows_of_lists(ids) if tensor is None else _rows_of_tensor(tensor)


def _rows_of_tensor(ids: Int[Tensor, "..."]) -> list[list[int]]:
    if ids.ndim not in (1, 2):
        raise ValueError(f"Token ids have shape {tuple(ids.shape)}; pass [pos] or [batch, pos].")
    if ids.numel() == 0:
        raise ValueError(f"The token tensor is empty, of shape {tuple(ids.shape)}. Pass at least one token.")
    rows: list[list[int]] = (ids[None] if ids.ndim == 1 else ids).tolist()
    return rows


def _rows_of_lists(ids: object) -> list[list[int]]:
    outer = items(ids)
    if outer is None:
        raise TypeError(f"The prompts are {shown(ids)}. Pass a string, several in a list, or token ids.")
    rows = [outer] if all(whole_number(item) is not None for item in outer) else [items(item) for item in outer]
    read = []
    for i, row in enumerate(rows):
        if row is None:
            raise TypeError(
                f"Prompt {i} is {shown(outer[i])}. Pass strings, or token ids: a list of them, a list of lists, or one "
                "tensor."
            )
        numbers = [whole_number(item) for item in row]
        if None in numbers:
            wrong = row[numbers.index(None)]
            raise TypeError(f"Prompt {i} holds {shown(wrong)} among its token ids, which are whole numbers.")
        read.append([number for number in numbers if number is not None])
    return read


def _rows_of_mask(mask: object, rows: Sequence[Sequence[int]]) -> list[list[Any]]:
    given = items(mask)
    if given is None:
        raise TypeError(f"attention_mask is {shown(mask)}. Pass 1 for real tokens and 0 for padding, one for each id.")
    found = [given] if given and items(given[0]) is None else [items(row) or [] for row in given]
    sizes, wanted = [len(row) for row in found], [len(row) for row in rows]
    if sizes != wanted:
        raise ValueError(
            f"attention_mask has shape {_shape(sizes)}, the tokens {_shape(wanted)}. Pass 1 or 0 for each token."
        )
    return found


def _masked(rows: Sequence[Sequence[int]], mask: Sequence[Sequence[Any]]) -> list[list[int]]:
    kept = []
    for i, (row, marks) in enumerate(zip(rows, mask, strict=True)):
        flags = [_real(mark) for mark in marks]
        if None in flags:
            wrong = shown(marks[flags.index(None)])
            raise ValueError(f"attention_mask holds {wrong} for prompt {i}. Pass 1 for real tokens and 0 for padding.")
        real = [place for place, flag in enumerate(flags) if flag]
        if real and real[-1] - real[0] >= len(real):
            hole = next(place for place in range(real[0], real[-1]) if not flags[place])
            raise ValueError(
                f"attention_mask has a hole: it masks position {hole} of prompt {i}, between real tokens. Only padding "
                "at the ends can be left out. Take the token out of the prompt, or let the mask keep it."
            )
        kept.append([row[place] for place in real])
    return kept


def _real(mark: object) -> bool | None:
    """Whether a mark stands for a real token; None where it is no mark."""
    if isinstance(mark, bool | np.bool_):
        return bool(mark)
    try:
        size = number(mark, "a mark")
    except (TypeError, ValueError):
        return None
    return bool(size) if size in (0, 1) else None


def _without_padding(rows: list[list[int]], vocabulary: Vocabulary) -> list[list[int]]:
    """Removes what can only be padding.

    Raises:
        ValueError: If it may be text, or is between real tokens.
    """
    if vocabulary.pad_is_text:
        doubtful = first_doubtful(rows, vocabulary)
        if doubtful is not None:
            raise ValueError(
                f"Row {doubtful} begins or ends in the token {vocabulary.text(vocabulary.pad)!r}, which this tokenizer "
                "uses both for padding and for text. Pass the prompts as strings, or an attention_mask that says "
                "which tokens are real."
            )
        return rows
    return [_stripped(row, i, vocabulary) for i, row in enumerate(rows)]


def _stripped(row: list[int], i: int, vocabulary: Vocabulary) -> list[int]:
    real = [place for place, token in enumerate(row) if token != vocabulary.pad]
    if not real:
        return []
    if real[-1] - real[0] >= len(real):
        hole = row.index(vocabulary.pad, real[0])
        raise ValueError(
            f"Prompt {i} has the padding token {vocabulary.text(vocabulary.pad)!r} at position {hole}, between real "
            "tokens. Take it out, or pass an attention_mask that says which tokens are real."
        )
    return row[real[0] : real[-1] + 1]


def _ends(row: Sequence[int], pad: int) -> tuple[int, int]:
    """How many padding tokens are in front, and how many at the end; a row of only padding has all in front."""
    leading = next((place for place, token in enumerate(row) if token != pad), len(row))
    ending = next((place for place, token in enumerate(reversed(row[leading:])) if token != pad), 0)
    return leading, ending


def _shape(sizes: Sequence[int]) -> str:
    """The shape of rows, or their lengths where these differ."""
    return str((len(sizes), sizes[0])) if len(set(sizes)) == 1 else f"of {len(sizes)} rows of {shown(list(sizes))}"

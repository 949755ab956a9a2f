"""Where a text is in a prompt, in whole tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from dla.inputs.given import shown, whole_number
from dla.inputs.prompts import Prompts
from dla.inputs.text_pieces import TextPiece
from dla.text import shortened

_SHOWN = 4
"""How many places of a text, or tokens, an error lists."""


@final
@dataclass(frozen=True)
class Span:
    """A text in a prompt that holds it more than once.

    Attributes:
        text: The text, as it stands in the prompt.
        occurrence: Which one, from 0; -1 is the last. None where it is there once.

    Raises:
        TypeError: If the text is none, or the occurrence is no whole number.
        ValueError: If the text is empty.

    Examples:
        >>> Span(" John", occurrence=1)
        Span(text=' John', occurrence=1)
    """

    text: str
    occurrence: int | None = None

    def __post_init__(self) -> None:
        text, which = _fields(self)
        if not isinstance(text, str) or (which is not None and whole_number(which) is None):
            raise TypeError(
                f"A span is a text and which of its occurrences, and these are {shown(self.text)} and "
                f"{shown(self.occurrence)}. Pass them like Span(' Mary', 1)."
            )


def _fields(span: Span) -> tuple[object, object]:
    return span.text, span.occurrence


def positions_of_text(span: Span, prompts: Prompts, i: int, what: str) -> tuple[int, ...]:
    """The positions of a text in one prompt: those of the tokens that it consists of.

    White space where a token meets the edge of the text decides nothing: "Eiffel" is the token " Eiffel".

    Args:
        span: The text.
        prompts: The prompts; what is asked about behind a prompt is not searched.
        i: Which of them.
        what: What an error calls the span.

    Raises:
        ValueError: If the text is not there, is there several times, or cuts a token.
    """
    whose = f"{what}, {shown(span.text)},"
    if not span.text.strip():
        raise ValueError(f"{whose} holds no word. Pass the words of the prompt that it holds, or positions.")
    pieces = _pieces(prompts, i, whose)
    whole = "".join(piece.text for piece in pieces)
    starts = _found(span.text, whole)
    if not starts:
        raise ValueError(
            f"{whose} is not in prompt {i}, {shown(shortened(whole))}. Pass words as they stand there, or positions."
        )
    each = [_tokens(start, start + len(span.text), pieces) for start in starts]
    chosen = _chosen(span, starts, each, whose, i)
    inside, cut = each[chosen]
    if cut is not None:
        tokens = [prompts.vocabulary.text(int(prompts.tokens[i, at])) for at in range(cut.first, cut.stop)]
        raise ValueError(
            f"{whose} cuts {'a token' if len(tokens) == 1 else 'tokens'} of prompt {i}: "
            f"{', '.join(map(repr, tokens))} at position {cut.first}. Let it begin and end where tokens do, or pass "
            "positions."
        )
    return inside


def _pieces(prompts: Prompts, i: int, whose: str) -> list[TextPiece]:
    if not prompts.known:
        raise ValueError(
            f"{whose} is a text, and the prompts' tokens are not known here. Pass positions, or attribute the prompts."
        )
    if prompts.vocabulary.decode is None:
        raise ValueError(f"{whose} is a text, and the model has no tokenizer. Pass positions.")
    ids = prompts.rows()[i]
    return prompts.vocabulary.pieces(ids if prompts.starts is None else ids[: prompts.starts[i]])


def _found(text: str, whole: str) -> list[int]:
    starts, start = [], whole.find(text)
    while start >= 0:
        starts.append(start)
        start = whole.find(text, start + 1)
    return starts


def _tokens(start: int, stop: int, pieces: Sequence[TextPiece]) -> tuple[tuple[int, ...], TextPiece | None]:
    """The tokens of a stretch of the text, and the first piece that it cuts."""
    inside: list[int] = []
    cut, begins = None, 0
    for piece in pieces:
        ends = begins + len(piece.text)
        own = piece.text[max(0, start - begins) : max(0, stop - begins)]
        if own and own.strip() == piece.text.strip():
            inside += range(piece.first, piece.stop)
        elif own.strip():
            cut = cut or piece
        begins = ends
    return tuple(inside), cut


def _chosen(
    span: Span, starts: Sequence[int], each: Sequence[tuple[tuple[int, ...], TextPiece | None]], whose: str, i: int
) -> int:
    count = len(starts)
    if span.occurrence is None and count == 1:
        return 0
    if span.occurrence is None:
        places = [", ".join(map(str, inside)) if cut is None else f"{cut.first} (cut)" for inside, cut in each[:_SHOWN]]
        more = f"; and {count - _SHOWN} more" if count > _SHOWN else ""
        raise ValueError(
            f"{whose} is in prompt {i} {count} times, at the positions {'; '.join(places)}{more}. Say which one, from "
            f"0: dla.Span({shown(span.text)}, 0), or pass positions."
        )
    if not -count <= span.occurrence < count:
        times = "once" if count == 1 else f"{count} times"
        raise ValueError(
            f"{whose} is in prompt {i} {times}, and occurrence {span.occurrence} is asked for (from {-count} to "
            f"{count - 1})."
        )
    return span.occurrence % count

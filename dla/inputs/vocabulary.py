"""The vocabulary: from text to token ids and back, with errors that explain what cannot be a token."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from dla.errors import PromptWarning, warn_caller
from dla.inputs.given import shown
from dla.inputs.given import token as text_or_id
from dla.inputs.text_pieces import TextPiece, text_pieces

_AS_ID = re.compile(r"id:(\d{1,18})")
"""How a token is written that has no text of its own."""

_SHOWN = 8
"""How many tokens of a text that is several an error lists."""


@final
@dataclass(frozen=True)
class Vocabulary:
    """A model's tokens.

    Attributes:
        size: How many logits there are; ids run from 0 to `size - 1`.
        input_size: How many ids the embedding knows.
        encode: From text to ids by the model's own tokenizer; the flag says whether to put BOS in front (None: the
            model's default). None for a model without tokenizer.
        decode: From one id to its text; None for a model without tokenizer.
        pad: The id that pads short prompts; no prompt reads it, so any id will do.
        pad_is_text: Whether the padding token also occurs as text (GPT-2 pads with its end-of-text token). If not, it
            is always padding in ids without a mask.
        pads_left: Whether the tokenizer pads on the left.
        unknown: The id that stands for text outside the vocabulary, if there is one.
        bos: The id that begins a text, if there is one.
        chat: Writes the messages of a chat out as text, as the model was trained to read them; None where the tokenizer
            has no template for that.
        decode_all: From several ids in a row to the text that they are together, special tokens too; None to put the
            texts of the single ids one behind the other.
    """

    size: int
    input_size: int
    encode: Callable[[str, bool | None], list[int]] | None = None
    decode: Callable[[int], str] | None = None
    pad: int = 0
    pad_is_text: bool = True
    pads_left: bool = False
    unknown: int | None = None
    bos: int | None = None
    chat: Callable[[list[Mapping[str, str]]], str] | None = None
    decode_all: Callable[[Sequence[int]], str] | None = None

    def prompt(self, text: str, prepend_bos: bool | None = None) -> list[int]:
        """The ids of a prompt.

        Args:
            text: The prompt.
            prepend_bos: Whether to put the BOS token in front; None for the model's default, but no second one in front
                of a text that begins with it.

        Raises:
            ValueError: If the prompt is empty, or the model has no tokenizer.

        Warns:
            PromptWarning: If `prepend_bos=True` makes it begin with BOS twice.
        """
        if self.encode is None:
            raise ValueError(
                f"The prompt {shown(text)} is text and the model has no tokenizer. Pass a tensor of token ids instead."
            )
        if not text:
            raise ValueError("The prompt is empty (''). Pass at least one token.")
        _check_whole(text)
        ids = self.encode(text, prepend_bos)
        if not ids:
            raise ValueError(f"The prompt {shown(text)} has no tokens. Pass at least one token.")
        return self._with_one_bos(text, ids, prepend_bos)

    def unknown_words(self, text: str) -> list[str]:
        """The words of a prompt that the model does not know, and so reads as `unknown`."""
        if self.encode is None or self.unknown is None:
            return []
        return [word for word in dict.fromkeys(text.split()) if self._reads_as_unknown(word)]

    def token(self, token: str | int) -> int:
        """The id of one token, given as its text, its id, or `id:464` as tokens without a text are shown.

        Raises:
            TypeError: If it is neither.
            ValueError: If the text is not exactly one known token, or the id is outside the vocabulary.
        """
        token = text_or_id(token)
        if isinstance(token, str):
            return self._token_of_text(token)
        if not 0 <= token < self.size:
            raise ValueError(
                f"Token id {shown(token)} is outside the vocabulary (0 to {self.size - 1}). Pass an id in that range."
            )
        return token

    def text(self, token: int) -> str:
        """The text of a token; its id if there is no tokenizer."""
        return str(token) if self.decode is None else self.decode(token)

    def pieces(self, ids: Sequence[int]) -> list[TextPiece]:
        """A text's tokens with their texts, as these stand in the whole; tokens that share a letter are one piece."""
        if self.decode_all is None:
            return [TextPiece(self.text(token), i, i + 1) for i, token in enumerate(ids)]
        return text_pieces(ids, self.decode_all)

    def other_spelling(self, token: int) -> int:
        """The token of the same word with a space in front, or without one; -1 where that is not one token."""
        text = self.text(token)
        if self.encode is None or not text.strip() or _AS_ID.fullmatch(text):
            return -1
        ids = self.encode(text[1:] if text[0] == " " else f" {text}", False)
        return ids[0] if len(ids) == 1 and ids[0] not in (token, self.unknown) and ids[0] < self.size else -1

    def _with_one_bos(self, text: str, ids: list[int], prepend_bos: bool | None) -> list[int]:
        if self.encode is None or self.bos is None or prepend_bos is False or ids[:2] != [self.bos] * 2:
            return ids
        # Twice BOS: was the first put in front, or does the text itself have two?
        own = self.encode(text, False)
        if own[:1] != [self.bos] or len(own) >= len(ids):
            return ids
        if prepend_bos is None:
            return own
        warn_caller(
            f"A prompt begins with {self.text(self.bos)!r}, and prepend_bos=True puts a second one in front: the model "
            "reads both. Leave prepend_bos out to have one.",
            PromptWarning,
        )
        return ids

    def _reads_as_unknown(self, word: str) -> bool:
        assert self.encode is not None and self.unknown is not None
        # Many tokenizers know a word only with the space in front of it, or only without.
        ways = (self.encode(way, False) for way in (word, f" {word}"))
        return self.text(self.unknown).strip() not in word and all(self.unknown in ids for ids in ways)

    def _token_of_text(self, text: str) -> int:
        if self.encode is None:
            raise ValueError(f"The token {shown(text)} is text and the model has no tokenizer. Pass its id instead.")
        _check_whole(text)
        ids = self.encode(text, False) if text else []
        written = _AS_ID.fullmatch(text)
        if written is not None and (len(ids) != 1 or ids[0] == self.unknown):
            return self.token(int(written[1]))
        if len(ids) != 1:
            pieces = ", ".join([*(repr(self.text(i)) for i in ids[:_SHOWN]), *["..."] * (len(ids) > _SHOWN)])
            space = "" if text.startswith(" ") else f" Many tokenizers want the leading space: {shown(f' {text}')}."
            space += f" For all of them, ask dla.Continuation({shown(text)})." if len(ids) > 1 else ""
            raise ValueError(
                f"{shown(text)} is {len(ids)} tokens ({pieces}); a logit belongs to one token. "
                f"Pass one of them, or its id.{space}"
            )
        if ids[0] == self.unknown and text.strip() != self.text(ids[0]).strip():
            raise ValueError(
                f"{shown(text)} is not in the model's vocabulary (it becomes {self.text(ids[0])!r}). "
                "Pass a token that the model knows, or its id."
            )
        return self.token(ids[0])


def _check_whole(text: str) -> None:
    """Refuses a text with half a character in it, which no tokenizer reads.

    Raises:
        ValueError: If there is one; says where.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"The text {shown(text)} holds half of a character, {text[error.start]!r}, at place {error.start}. Decode "
            "its bytes as UTF-8 again, or take that out."
        ) from None

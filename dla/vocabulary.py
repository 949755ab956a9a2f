"""The vocabulary: from text to token ids and back, with words for what cannot be a token."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Vocabulary:
    """A model's tokens, as far as an attribution needs them.

    Attributes:
        size: How many logits there are; ids run from 0 to `size - 1`.
        input_size: How many ids the embedding knows.
        encode: Text to ids, as the model's own tokenizer does it; the flag asks for the BOS token or not
            (None: as the model does by default). None for a model without tokenizer.
        decode: One id to its text; None for a model without tokenizer.
        pad: The id that fills up short prompts; any id will do, no prompt reads it.
        pad_is_text: Whether the padding token also occurs as text (GPT-2 pads with its end-of-text token).
        pads_left: Whether the tokenizer fills up short prompts on the left.
        unknown: The id that stands for text outside the vocabulary, if there is one.
    """

    size: int
    input_size: int
    encode: Callable[[str, bool | None], list[int]] | None = None
    decode: Callable[[int], str] | None = None
    pad: int = 0
    pad_is_text: bool = True
    pads_left: bool = False
    unknown: int | None = None

    def prompt(self, text: str, prepend_bos: bool | None = None) -> list[int]:
        """The ids of a prompt.

        Raises:
            ValueError: If the prompt is empty, or the model has no tokenizer.
        """
        if self.encode is None:
            raise ValueError(
                f"The prompt {text!r} is text and the model has no tokenizer. Pass a tensor of token ids instead."
            )
        if not text:
            raise ValueError("The prompt is empty (''). Pass at least one token.")
        ids = self.encode(text, prepend_bos)
        if not ids:
            raise ValueError(f"The prompt {text!r} has no tokens. Pass at least one token.")
        return ids

    def token(self, token: str | int) -> int:
        """The id of one token, given as its text or its id.

        Raises:
            ValueError: If the text is not exactly one known token, or the id is outside the vocabulary.
        """
        if isinstance(token, str):
            return self._token_of_text(token)
        if not 0 <= token < self.size:
            raise ValueError(
                f"Token id {token} is outside the vocabulary (0 to {self.size - 1}). Pass an id in that range."
            )
        return token

    def text(self, token: int) -> str:
        """How a token reads; its id where there is no tokenizer."""
        return str(token) if self.decode is None else self.decode(token)

    def _token_of_text(self, text: str) -> int:
        if self.encode is None:
            raise ValueError(f"The token {text!r} is text and the model has no tokenizer. Pass its id instead.")
        ids = self.encode(text, False) if text else []
        if len(ids) != 1:
            pieces = ", ".join(repr(self.text(i)) for i in ids)
            space = "" if text.startswith(" ") else f" Many tokenizers want the leading space: {' ' + text!r}."
            raise ValueError(
                f"{text!r} is {len(ids)} tokens ({pieces}); a logit belongs to one token. "
                f"Pass one of them, or its id.{space}"
            )
        if ids[0] == self.unknown and text.strip() != self.text(ids[0]).strip():
            raise ValueError(
                f"{text!r} is not in the model's vocabulary (it becomes {self.text(ids[0])!r}). "
                "Pass a token that the model knows, or its id."
            )
        return self.token(ids[0])

"""A TransformerLens model's tokenizer as a `Vocabulary`."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from dla.inputs.vocabulary import Vocabulary

# Matches `<pad>`, `[PAD]`, `<|padding|>`. A padding token of another name may be text: a word, an end of text.
_NAMES_PADDING = re.compile(r"[<\[].*pad.*[>\]]", re.IGNORECASE)

_SPACE = "▁"
"""How SentencePiece writes the space in front of a word."""


def vocabulary_of(model: Any, d_vocab: int) -> Vocabulary:
    """The vocabulary of a `HookedTransformer` or a `TransformerBridge`; the two share this part of their interface."""
    tokenizer = model.tokenizer
    input_size = int(getattr(model.cfg, "d_vocab", d_vocab))
    if tokenizer is None:
        return Vocabulary(d_vocab, input_size)

    # TransformerLens makes a tokenizer without a padding token pad with its end-of-text token.
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    others = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id}
    return Vocabulary(
        size=d_vocab,
        input_size=input_size,
        encode=partial(_encode, model),
        decode=partial(_decode, tokenizer),
        pad=0 if pad is None else int(pad),
        pad_is_text=pad is None or pad in others or not _NAMES_PADDING.fullmatch(str(tokenizer.pad_token)),
        pads_left=tokenizer.padding_side == "left",
        unknown=tokenizer.unk_token_id,
        bos=tokenizer.bos_token_id,
        decode_all=partial(_decode_all, tokenizer),
        chat=None if not getattr(tokenizer, "chat_template", None) else partial(_chat, tokenizer),
    )


def _chat(tokenizer: Any, messages: list[Mapping[str, str]]) -> str:
    from jinja2 import TemplateError

    try:
        text: str = tokenizer.apply_chat_template(
            [dict(m) for m in messages], tokenize=False, add_generation_prompt=True
        )
    except TemplateError as error:
        raise ValueError(
            f"The tokenizer's chat template refuses the messages: {error}. Pass roles in the order that it expects."
        ) from error
    return text


def _encode(model: Any, text: str, prepend_bos: bool | None) -> list[int]:
    if prepend_bos is False and model.tokenizer.pad_token_id is None:
        # TransformerLens pads a single text, too, which a tokenizer without a padding token refuses.
        plain: list[int] = model.tokenizer.encode(text, add_special_tokens=False)
        return plain
    choice = {} if prepend_bos is None else {"prepend_bos": prepend_bos}
    # A single text has no padding. With padding on the left TransformerLens would take a BOS that also pads for it.
    with torch.device("cpu"):  # whatever the default device is
        ids: list[int] = model.to_tokens(text, truncate=False, padding_side="right", **choice)[0].tolist()
    return ids


def _decode_all(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text of several tokens, with the space that some tokenizers take away in front of a comma."""
    return str(tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))


def _decode(tokenizer: Any, token: int) -> str:
    """A token as it can be typed again: its text; `id:464` where it has none of its own, such as a piece of a letter.

    Tokenizers like SentencePiece's give the space in front as `▁` and leave it out of the text; it is put back where
    that text is still the token.
    """
    text = str(tokenizer.decode([token]))
    if not text or "\N{REPLACEMENT CHARACTER}" in text:
        return f"id:{token}"
    piece = str(tokenizer.convert_ids_to_tokens(token))
    spaced = f" {text}"
    if piece.startswith(_SPACE) and text[0] != " " and tokenizer.encode(spaced, add_special_tokens=False) == [token]:
        return spaced
    return text

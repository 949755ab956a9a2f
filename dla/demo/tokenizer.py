"""The demo model's tokenizer: a word, or a punctuation mark, is a token."""

import string

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from dla.demo.grammar import TEMPLATES
from dla.demo.words import OBJECTS, PEOPLE, PLACES

PAD, BOS, EOS, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"


def vocabulary() -> dict[str, int]:
    """Every word that a sentence can hold, and its id; the special tokens come first."""
    templates = (literal for text in TEMPLATES.values() for literal, *_ in string.Formatter().parse(text))
    glue = sorted({word for literal in templates for word in literal.split()} | {"."})
    words = dict.fromkeys([PAD, BOS, EOS, UNKNOWN, *glue, *PEOPLE, *PLACES, *OBJECTS])
    return {word: id_ for id_, word in enumerate(words)}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer: puts `<s>` first, pads on the right, and reads " Mary" and "Mary" as the same token."""
    vocab = vocabulary()
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, vocab[BOS])]
    )
    # TransformerLens looks up both name_or_path and add_bos_token, and asks the hub when either is missing.
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        name_or_path="dla-demo",
        add_bos_token=True,
        padding_side="right",
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
    )

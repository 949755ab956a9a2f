"""A word-level tokenizer that needs no download."""

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("<s>", "</s>", "<pad>", "<unk>")
"""In the order of their ids, 0 to 3."""

FIRST_NAMES = ("Mary", "John", "Alice", "Bob", "Tom", "Anna", "Paul", "Sara")
"""Names to complete a prompt with; each is one token with a leading space, and another without."""

KNOWN_WORDS = (
    *FIRST_NAMES,
    *("When", "Then", "After", "and", "went", "to", "the", "a", "of", "in", "at", "with", "for", "is", "was"),
    *("store", "park", "school", "house", "garden", "drink", "book", "ball", "flower", "letter", "ring"),
    *("gave", "said", "took", "saw", "had", "not", "she", "he", "they", "it", "snack", "cat", "dog"),
    *(".", ",", "?", "!"),
)
"""All words the tokenizer knows; anything else is `<unk>`."""

PROMPT = "When Mary and John went to the store , John gave a drink to"
"""The indirect object identification prompt, 15 tokens with BOS."""

VOCABULARY_SIZE = len(SPECIAL_TOKENS) + 2 * len(KNOWN_WORDS)
"""Number of token ids: the special ones, each word, and each word with a leading space."""


def tokenizer() -> PreTrainedTokenizerFast:
    """A new tokenizer whose tokens are words, with a leading space where the text has one.

    It prepends `<s>`, and decoding joins the tokens back to the text.

    Returns:
        A tokenizer with `VOCABULARY_SIZE` tokens. `bos`, `eos`, `pad` and `unk` are tokens of their own.
    """
    words = (*SPECIAL_TOKENS, *KNOWN_WORDS, *(" " + word for word in KNOWN_WORDS))
    vocabulary = {word: index for index, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?[^ ]+"), behavior="isolated")
    backend.decoder = decoders.Fuse()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        # Both needed: TransformerLens looks a tokenizer up by its name when it seems to add no BOS.
        name_or_path="tiny",
        add_bos_token=True,
        clean_up_tokenization_spaces=False,
    )

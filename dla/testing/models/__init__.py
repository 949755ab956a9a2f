"""A catalogue of tiny random models, one for each architecture that attribution must get right."""

from dla.testing.models.catalogue import architecture, hooked_architecture
from dla.testing.models.hooked_transformers import HOOKED, HookedArchitecture
from dla.testing.models.hugging_face import HUGGING_FACE, REFUSED, HuggingFaceArchitecture, bridge_of
from dla.testing.models.randomise import randomise
from dla.testing.models.word_tokenizer import FIRST_NAMES, PROMPT, VOCABULARY_SIZE, tokenizer

__all__ = [
    "HOOKED",
    "HUGGING_FACE",
    "FIRST_NAMES",
    "PROMPT",
    "REFUSED",
    "VOCABULARY_SIZE",
    "HookedArchitecture",
    "HuggingFaceArchitecture",
    "architecture",
    "bridge_of",
    "hooked_architecture",
    "randomise",
    "tokenizer",
]

"""SmolLM2 in each form, loaded once a session, and the prompts that it is asked."""

from dataclasses import dataclass
from functools import cache
from typing import Any, final

import torch
from torch import Tensor
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

import dla
import dla.demo


@final
@dataclass(frozen=True)
class Fact:
    """A prompt, the token that completes it, and one that does not."""

    prompt: str
    answer: str
    incorrect: str


FACTS = (
    Fact("The Eiffel Tower is in the city of", " Paris", " Rome"),
    Fact("The capital of Japan is", " Tokyo", " Berlin"),
    Fact("The opposite of hot is", " cold", " warm"),
    Fact("When Mary and John went to the store, John gave a drink to", " Mary", " John"),
    Fact("A triangle has three sides and a square has", " four", " five"),
    Fact("On a clear day the sky is", " blue", " green"),
    Fact("Romeo and Juliet was written by William", " Shakespeare", " Mary"),
    Fact("Cats chase mice, and the dog chases the", " cat", " fire"),
    Fact("The days of the week are Monday,", " Tuesday", " Monday"),
    Fact("The Colosseum is a monument in", " Rome", " Paris"),
    Fact("Ice melts and turns into", " water", " gold"),
    Fact("The capital of Spain is the city of Madrid, and the capital of France is", " Paris", " Madrid"),
)
EIFFEL = FACTS[0]
UNEQUAL = tuple(FACTS[i] for i in (0, 2, 3))
"""Three prompts of 9, 5 and 14 tokens."""


@cache
def plain() -> LlamaForCausalLM:
    """The Hugging Face model, which no library of interpretability has touched."""
    return hugging_face(torch.float32)


def hugging_face(dtype: torch.dtype) -> LlamaForCausalLM:
    """A Hugging Face model of the test's own."""
    model, _ = dla.demo.load_hugging_face(dla.demo.smollm2_folder(), dtype)
    assert isinstance(model, LlamaForCausalLM)
    return model


@cache
def raw() -> Any:
    """The raw bridge."""
    return dla.demo.load_smollm2("raw")


@cache
def adapted() -> dla.ModelAdapter:
    """The raw bridge, looked at once."""
    return dla.adapt(raw())


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    """The model's own tokenizer, which puts nothing in front of a prompt."""
    return dla.demo.load_hugging_face(dla.demo.smollm2_folder())[1]


def ids_of(text: str) -> Tensor:
    """The ids of a prompt, `[pos]`."""
    ids: Tensor = tokenizer()(text, return_tensors="pt").input_ids[0]
    return ids


def token(text: str) -> int:
    """The id of a word that is one token."""
    (found,) = tokenizer()(text, add_special_tokens=False).input_ids
    return int(found)


def difference(facts: tuple[Fact, ...]) -> dla.LogitDifference:
    """The answer's logit minus the incorrect one's, a pair for each prompt."""
    return dla.LogitDifference([fact.answer for fact in facts], [fact.incorrect for fact in facts])


def prompts(facts: tuple[Fact, ...]) -> list[str]:
    """The texts."""
    return [fact.prompt for fact in facts]

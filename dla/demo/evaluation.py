"""How well a model completes the sentences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dla.demo.grammar import Prompt


@final
@dataclass(frozen=True)
class Evaluation:
    """How often a model completes sentences rightly, and how clearly.

    Attributes:
        accuracy: The share of prompts whose answer has the largest logit of the whole vocabulary.
        logit_difference: The mean over prompts of the answer's logit minus the other name's.
    """

    accuracy: float
    logit_difference: float


def token_ids(tokenizer: PreTrainedTokenizerBase, words: Sequence[str]) -> Int[Tensor, " batch"]:
    """The ids of words that are one token each."""
    return torch.tensor([tokenizer.encode(word, add_special_tokens=False) for word in words]).squeeze(-1)


@torch.inference_mode()
def last_logits(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]
) -> Float[Tensor, "batch vocab"]:
    """The Hugging Face model's logits after the last word of each text."""
    encoded = tokenizer(list(texts), padding=True, padding_side="right", return_tensors="pt")
    last = encoded.attention_mask.sum(dim=1) - 1
    logits: Tensor = model(encoded.input_ids, attention_mask=encoded.attention_mask).logits
    return logits[torch.arange(len(texts)), last]


def evaluate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> Evaluation:
    """Compares what a Hugging Face model answers after each prompt with the names that are right and wrong there."""
    logits = last_logits(model, tokenizer, [prompt.text for prompt in prompts])
    answers = token_ids(tokenizer, [prompt.answer for prompt in prompts])
    incorrect = token_ids(tokenizer, [prompt.incorrect for prompt in prompts])
    rows = torch.arange(len(prompts))
    difference = logits[rows, answers] - logits[rows, incorrect]
    return Evaluation((logits.argmax(dim=-1) == answers).float().mean().item(), difference.mean().item())

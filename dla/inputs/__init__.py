"""From text and ids to tokens and positions: prompts, padding, a tokenizer's vocabulary, plain values."""

from dla.inputs.positions import Positions
from dla.inputs.prompts import Prompts
from dla.inputs.vocabulary import Vocabulary

__all__ = ["Positions", "Prompts", "Vocabulary"]

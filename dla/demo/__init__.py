"""Models for examples and tests: a small trained one that knows who was given the drink, and a real one, SmolLM2."""

from dla.adapters.loading import load_hugging_face
from dla.demo.evaluation import Evaluation, evaluate
from dla.demo.grammar import ORDERS, TEMPLATES, Order, Prompt, giving_prompts, name_pairs
from dla.demo.loading import FOLDER, KINDS, load_folder, load_small
from dla.demo.smollm2 import load_smollm2, smollm2_folder

__all__ = [
    "FOLDER",
    "KINDS",
    "ORDERS",
    "TEMPLATES",
    "Evaluation",
    "Order",
    "Prompt",
    "evaluate",
    "giving_prompts",
    "load_folder",
    "load_hugging_face",
    "load_small",
    "load_smollm2",
    "name_pairs",
    "smollm2_folder",
]

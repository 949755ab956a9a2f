"""A small trained model for examples and tests: it knows who was given the drink."""

from dla.adapters.loading import load_hugging_face
from dla.demo.evaluation import Evaluation, evaluate
from dla.demo.grammar import ORDERS, TEMPLATES, Order, Prompt, name_pairs, prompts
from dla.demo.loading import FOLDER, KINDS, load, load_folder

__all__ = [
    "FOLDER",
    "KINDS",
    "ORDERS",
    "TEMPLATES",
    "Evaluation",
    "Order",
    "Prompt",
    "evaluate",
    "load",
    "load_folder",
    "load_hugging_face",
    "name_pairs",
    "prompts",
]

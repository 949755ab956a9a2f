"""What a model writes behind prompts, by its own `generate`."""

from collections.abc import Mapping
from typing import Any

from dla.adapters.base import ModelAdapter
from dla.adapters.turns import turn_on
from dla.inputs.given import count
from dla.inputs.prompts import Prompts


def written_after(model: ModelAdapter, prompts: Prompts, n: object, options: Mapping[str, Any]) -> list[list[int]]:
    """The ids that a model writes behind each prompt, one prompt at a time: none of them is padded.

    Args:
        model: The model.
        prompts: The prompts.
        n: How many tokens at most.
        options: Of the model's `generate`.

    Raises:
        TypeError: If `n` is not a whole number.
        UnsupportedModelError: If the adapter does not say how its model writes.
        ValueError: If `n` is less than one, or a text would be longer than the model's context.
    """
    most = count(n, "n", "token")
    longest = max(prompts.lengths)
    if model.context is not None and longest + most > model.context:
        raise ValueError(
            f"The longest prompt has {longest} tokens, and {most} more are asked for; the model's context is "
            f"{model.context}. Ask for fewer, or shorten the prompt."
        )
    with turn_on(model.source):
        return [model.generate(row, most, options) for row in prompts.rows()]

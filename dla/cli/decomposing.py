"""The rows that a command line asks for: which decomposers, and of which model in which dtype."""

from collections.abc import Sequence
from enum import StrEnum
from functools import reduce
from operator import or_
from typing import Annotated, Literal, final

import typer

import dla
from dla.cli.quiet import loading


@final
class Decomposition(StrEnum):
    """The values of `--decompose`, by which typer reads several."""

    COMPONENT = "component"
    LAYER = "layer"
    HEAD = "head"
    SOURCE = "source"
    NEURON = "neuron"
    BLOCK = "block"
    EXPERT = "expert"
    EMBEDDING = "embedding"
    BIAS = "bias"
    LENS = "lens"


COMPONENT = [Decomposition.COMPONENT]
DecomposeOption = Annotated[
    list[Decomposition],
    typer.Option(help="What the rows are; give it again for more: `--decompose head --decompose neuron`."),
]
DTypeName = Literal["float32", "bfloat16", "float16", "float64"]

DTypeOption = Annotated[DTypeName, typer.Option(help="What the model is loaded in and runs in.")]

SEQUENCES = {Decomposition.LAYER, Decomposition.LENS}
"""Those whose rows are one after the other and do not add up."""


def decomposer(names: Sequence[Decomposition]) -> "dla.Decomposer":
    """The decomposer of one or several values of `--decompose`.

    Raises:
        ValueError: If two split the same, or one does not add up with others.
    """
    made: list[dla.Decomposer] = [getattr(dla, f"{name.title()}Decomposer")() for name in dict.fromkeys(names)]
    return reduce(or_, made)


def load_attributor(model: str, decompose: Sequence[Decomposition], dtype: DTypeName = "float32") -> "dla.Attributor":
    """Loads a model, and makes its attributor.

    Args:
        model: A folder, or the name of a hub model.
        decompose: Values of `--decompose`.
        dtype: What its parameters are in.

    Raises:
        DLAError: If the model cannot be loaded or attributed.
        ValueError: If there is no such model, or the decompositions do not go together.
    """
    with loading(f"loading {model}"):
        import torch

        from dla.adapters.loading import load_model

        return dla.Attributor(load_model(model, getattr(torch, dtype)), decomposer(decompose))

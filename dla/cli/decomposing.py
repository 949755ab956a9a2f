"""What the rows are, as a command line says it: one decomposition, or several joined by a plus."""

from collections.abc import Iterable
from typing import Annotated, Literal

import typer

import dla

NAMES = {
    "component": "ComponentDecomposer",
    "layer": "LayerDecomposer",
    "head": "HeadDecomposer",
    "neuron": "NeuronDecomposer",
    "source": "SourceDecomposer",
    "block": "BlockDecomposer",
    "embedding": "EmbeddingDecomposer",
    "bias": "BiasDecomposer",
    "expert": "ExpertDecomposer",
    "lens": "LensDecomposer",
}
"""The kinds of rows that can be asked for, and the class of each."""
SEQUENCES = ("layer", "lens")
"""Kinds whose rows stand one after the other and do not add up."""

_PLURALS = {**{f"{name}s": name for name in NAMES}, "biases": "bias"}
_METAVAR = "KIND[+KIND...]"


def kinds_named(decompose: str) -> list[str]:
    """The decompositions that are joined, each by its own name.

    Raises:
        ValueError: If there is none of that name, or one is named twice.

    Examples:
        >>> kinds_named("heads+neuron")
        ['head', 'neuron']
    """
    names = [_PLURALS.get(word, word) for word in (each.strip() for each in decompose.split("+"))]
    wrong = [name for name in names if name not in NAMES]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is not one of {', '.join(map(repr, NAMES))}. Join several by +: head+neuron.")
    if len(set(names)) < len(names):
        raise ValueError(f"{decompose!r} names one kind of rows twice. Name each once.")
    if len(names) > 1 and (sequence := next((name for name in names if name in SEQUENCES), "")):
        raise ValueError(f"The rows of {sequence!r} are a sequence and do not add up. Ask for it alone.")
    return names


def decomposer_of(decompose: str) -> "dla.Decomposer":
    """The decomposer that a command line asks for.

    Raises:
        ValueError: If there is none of that name, or those that are joined have no common sum.
    """
    first, *others = (getattr(dla, NAMES[name])() for name in kinds_named(decompose))
    for other in others:
        first = first | other
    decomposer: dla.Decomposer = first
    return decomposer


def _checked(decompose: str | None) -> str | None:
    if decompose is not None:
        try:
            kinds_named(decompose)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    return decompose


def _help(about: str) -> str:
    return f"{about}: {_listed(NAMES)}; several are joined by +, as in head+neuron."


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"


Decompose = Annotated[str, typer.Option(metavar=_METAVAR, callback=_checked, help=_help("What the rows are"))]
By = Annotated[
    str | None, typer.Option(metavar=_METAVAR, callback=_checked, help="With --refine: what the pieces are.")
]
Dtype = Annotated[
    Literal["float32", "float64", "bfloat16", "float16"],
    typer.Option(help="In what precision the model runs; what half precision rounds away is a row of its own."),
]

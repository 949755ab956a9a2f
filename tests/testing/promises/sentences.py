"""The sentences of an interface's docstring: those of the class, and of each method that must be written."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from dla.adapters import Anatomy, Block, Heads, Mixture, ModelAdapter, Neurons, Sublayer, Unembedding, Values
from dla.adapters.affine import Affine
from dla.adapters.reads import HeadReads, NeuronReads, Read, StreamEntry
from dla.decomposers import Decomposer
from dla.directions import Direction, Directions, ResolvedDirection
from dla.edits import Ablation
from dla.engine.rules import Rule
from dla.inputs import Vocabulary
from dla.summaries import Interval
from dla.sweeps import Engine
from dla.writes import Norm, Route, Write
from dla.writes.dictionaries import Dictionary

INTERFACES: tuple[type, ...] = (
    *(Decomposer, Write, Direction, ResolvedDirection, ModelAdapter, Anatomy, Block, Sublayer, Heads, Values, Neurons),
    *(Mixture, Unembedding, Norm, Route, Vocabulary, Dictionary, Ablation),
    *(Affine, StreamEntry, HeadReads, Read, NeuronReads, Rule, Directions, Engine, Interval),
)
"""What users write, or fill in, to extend the library."""

_END = re.compile(r"(?<=\.) (?=[A-Z`])")
_SECTION = re.compile(r"\n\n(?:(?:Args|Returns|Raises|Source|Example):\n?)?")


def sentences_of(interface: type) -> list[str]:
    """Every sentence that an interface says, one line each; an attribute's begin with its name.

    Args:
        interface: A class.
    """
    found = list(_of_docstring(interface.__doc__ or ""))
    for name in sorted(getattr(interface, "__abstractmethods__", ())):
        method: Any = inspect.getattr_static(interface, name)
        documented = method.fget if isinstance(method, property) else method
        found += [f"{name}: {sentence}" for sentence in _of_docstring(documented.__doc__ or "")]
    return found


def _of_docstring(text: str) -> Iterator[str]:
    text = inspect.cleandoc(text)
    prose, _, attributes = text.partition("\nAttributes:\n")
    for paragraph in _SECTION.split(prose):
        yield from (sentence for entry in _entries(paragraph) for sentence in _split(entry))
    yield from (sentence for entry in _entries(attributes.partition("\n\n")[0]) for sentence in _split(entry))


def _entries(text: str) -> list[str]:
    """What a section says of each name, or all of a paragraph."""
    return re.split(r"\n(?=\w+: )", inspect.cleandoc(f"\n{text}"))


def _split(paragraph: str) -> Iterator[str]:
    words = " ".join(paragraph.split())
    yield from (sentence for sentence in _END.split(words) if sentence)

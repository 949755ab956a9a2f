"""Decomposers as plain values, which a file can hold and which are read without running code."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from dla.decomposers.base import Decomposer, MixedDecomposer
from dla.decomposers.bias import BiasDecomposer
from dla.decomposers.block import BlockDecomposer
from dla.decomposers.component import ComponentDecomposer
from dla.decomposers.embedding import EmbeddingDecomposer
from dla.decomposers.expert import ExpertDecomposer
from dla.decomposers.group import GroupDecomposer
from dla.decomposers.head import HeadDecomposer
from dla.decomposers.layer import LayerDecomposer
from dla.decomposers.lens import LensDecomposer
from dla.decomposers.neuron import NeuronDecomposer
from dla.decomposers.source import SourceDecomposer
from dla.inputs.given import items, whole_number
from dla.inputs.span_texts import Span

_PLAIN: Mapping[str, type[Decomposer]] = {
    kind.__name__: kind
    for kind in (
        *(BiasDecomposer, BlockDecomposer, ComponentDecomposer, EmbeddingDecomposer, ExpertDecomposer),
        *(GroupDecomposer, HeadDecomposer, LayerDecomposer, LensDecomposer, MixedDecomposer, NeuronDecomposer),
        SourceDecomposer,
    )
}


def recipe_of(decomposer: Decomposer) -> Any:
    """A decomposer as JSON can hold it; None where it holds more than numbers and texts, or is none of the library's.

    Examples:
        >>> recipe_of(NeuronDecomposer(top_k=5))
        {'decomposer': 'NeuronDecomposer', 'fields': {'layers': None, 'top_k': 5}}
        >>> recipe_of(GroupDecomposer(HeadDecomposer(), {"early": lambda label: label.layer == 0})) is None
        True
    """
    try:
        return _plain(decomposer)
    except TypeError:
        return None


def from_recipe(recipe: Any) -> Decomposer:
    """The decomposer of which `recipe_of` gave this.

    Raises:
        ValueError: If it is of none that this version knows.
    """
    made = _made(recipe)
    if not isinstance(made, Decomposer):
        raise ValueError("what its rows are is told as something else than a decomposer")
    return made


def _plain(value: Any) -> Any:
    if isinstance(value, Decomposer):
        name = type(value).__name__
        if type(value) is not _PLAIN.get(name):
            raise TypeError(name)
        own: Any = value  # a dataclass, as all of them are
        return {"decomposer": name, "fields": {field.name: _plain(getattr(own, field.name)) for field in fields(own)}}
    if isinstance(value, Span):
        return {"span": value.text, "occurrence": whole_number(value.occurrence)}
    if value is None or isinstance(value, str):
        return value
    if whole_number(value) is not None:
        return whole_number(value)
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"mapping": {key: _plain(each) for key, each in value.items()}}
    several = items(value)
    if several is None:
        raise TypeError(type(value).__name__)
    return [_plain(each) for each in several]


def _made(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_made(each) for each in value)
    if not isinstance(value, dict):
        return value
    if "span" in value:
        return Span(value["span"], value["occurrence"])
    if "mapping" in value:
        return {key: _made(each) for key, each in value["mapping"].items()}
    kind = _PLAIN.get(value.get("decomposer", ""))
    if kind is None:
        raise ValueError(f"its rows are of {value.get('decomposer')!r}, which this version does not know")
    return kind(**{key: _made(each) for key, each in value["fields"].items()})

"""What a result records of its making: what was asked of which model, with which versions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import final

__version__ = "0.1.0"

Saying = tuple[str, float, int]
"""A token, its log-probability as the model's own prediction has it, and its rank there, from 1."""


@cache
def versions() -> dict[str, str]:
    """The versions of this library and of what it runs on."""
    return {"dla": __version__, **{name: version(name) for name in ("transformer-lens", "transformers", "torch")}}


def is_path(name: str) -> bool:
    """Whether the name of a model was meant as a folder: those of hub models are `model` or `owner/model`."""
    return name.startswith((".", "/", "~")) or name.endswith("/") or name.count("/") > 1 or "\\" in name


def model_name(name: str) -> str:
    """The name of a model, of which a result and its files tell: of a folder only the last part of its path.

    Where a model lies on somebody's machine is nobody's business to whom a page or a file is sent.
    """
    parts = re.split(r"[/\\]+", name.rstrip("/\\"))
    return (parts[-1] or name) if is_path(name) else name


@final
@dataclass(frozen=True)
class Provenance:
    """Where an attribution comes from.

    Attributes:
        tokens: Each prompt's tokens as text.
        direction: What was asked, in words.
        decomposer: How the stream was split.
        row_kind: What the rows have to do with the total: additive, cumulative, lens.
        model: The model's name; of a folder, without the path to it.
        dtype: The model's dtype.
        dims: The names of the axes after the first: of `direction`, `batch` and `position`, those that there are.
        versions: Of this library, TransformerLens and PyTorch.
        directions: The names of several directions; empty for one.
        traced: The part whose row was traced, as text; empty where the logit is the model's own.
        edits: What was edited in the run, each as "part (ablation)".
        rule: How a trace read MLPs as linear, in words; empty where it went through none.
        summed: Whether one number for several positions is their sum, as of an answer's tokens, and not their mean.
        asked: For each direction its token at each place, prompt by prompt, where the directions' names do not say it.
        said: At each place, prompt by prompt, the tokens that are asked about (and the same words with or without a
            space in front, where these are tokens), with their log-probability and rank. Empty where the model's whole
            prediction was not looked at: at many places.
        first: At each place the model's own first answers.
        following: Whether each place asks for the token that follows it, as of a text that is there already.
    """

    tokens: tuple[tuple[str, ...], ...]
    direction: str
    decomposer: str
    row_kind: str
    model: str
    dtype: str
    dims: tuple[str, ...]
    versions: Mapping[str, str]
    directions: tuple[str, ...] = ()
    traced: str = ""
    edits: tuple[str, ...] = ()
    rule: str = ""
    summed: bool = False
    asked: tuple[tuple[str, ...], ...] = ()
    said: tuple[tuple[Saying, ...], ...] = ()
    first: tuple[tuple[Saying, ...], ...] = ()
    following: bool = False

    @property
    def places(self) -> tuple[str, ...]:
        """The axes that say where was asked: `batch` and `position`, those that there are."""
        return tuple(dim for dim in self.dims if dim != "direction")

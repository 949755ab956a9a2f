"""What a file says of the run that a result comes from, so that the same can be asked of the same model again."""

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, final

import safetensors
import safetensors.torch as tensor_files
import torch
from jaxtyping import Shaped
from torch import Tensor

from dla.adapters.fingerprints import identity_of
from dla.decomposers.recipes import recipe_of
from dla.directions import ResolvedDirection
from dla.inputs.positions import Positions
from dla.inputs.prompts import Prompts
from dla.inputs.vocabulary import Vocabulary
from dla.provenance import Provenance
from dla.results.rerun import Rerun
from dla.views.declared import declared
from dla.views.stored_text import restored, stored

_OF_DIRECTION = ("ids", "weights", "vector", "dense", "offset")
"""The tensors of a resolved direction."""


@final
@dataclass(frozen=True)
class RowsMadeBy:
    """One step to the rows of a result.

    Attributes:
        part: The row that was split, as text; empty for the first step, which makes all rows.
        name: The decomposer's.
        recipe: The decomposer as plain values; None where it holds more than those.
    """

    part: str
    name: str
    recipe: Any


@final
@dataclass(frozen=True)
class About:
    """What is told of a run beside its tensors."""

    model: dict[str, Any]
    hooks: list[str]
    made_by: list[RowsMadeBy]
    names: list[str]
    at: list[str | None]
    single: bool
    everything: bool


@final
@dataclass(frozen=True, eq=False)
class Question:
    """What was asked of which model, in values that a file can hold.

    Attributes:
        cannot: Why it cannot be asked again; empty where it can.
        about: The model's fingerprints, the user's hooks, what made the rows, and the names and places of directions.
        tensors: The ids of the prompts, the positions, and the directions as they were resolved, by name.
    """

    cannot: str
    about: About | None = None
    tensors: Mapping[str, Shaped[Tensor, "..."]] = field(default_factory=dict)

    @staticmethod
    def of(rerun: Rerun, provenance: Provenance) -> "Question":
        """The question of a result that knows its run; the weights of the model are read for it.

        Args:
            rerun: Where the result comes from.
            provenance: What was asked, in words.
        """
        query = rerun.query
        cannot = _why_not(rerun, provenance)
        if cannot:
            return Question(cannot)
        tensors = {"tokens": query.prompts.tokens, "lengths": torch.tensor(query.prompts.lengths)}
        if query.prompts.starts is not None:
            tensors["starts"] = torch.tensor(query.prompts.starts)
        if query.prompts.one_of is not None:
            tensors["one_of"] = torch.tensor(query.prompts.one_of)
        tensors |= {"index": query.positions.index, "valid": query.positions.valid}
        for i, one in enumerate(query.resolved):
            parts = {name: getattr(one, name) for name in _OF_DIRECTION}
            tensors |= {f"{name}.{i}": tensor for name, tensor in parts.items() if tensor is not None}
        about = About(
            model=identity_of(query.model),
            hooks=list(map(str, rerun.hooks)),
            made_by=[
                RowsMadeBy(part=str(part or ""), name=type(by).__name__, recipe=recipe_of(by))
                for part, by in query.plan.made_by
            ],
            names=list(query.names),
            at=[one.at for one in query.resolved],
            single=query.positions.single,
            everything=query.positions.everything,
        )
        return Question("", about, {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})

    def of_direction(self, i: int) -> "Question":
        """The same, asked only one of several directions."""
        if self.about is None:
            return self
        kept = {f"{name}.{i}": f"{name}.0" for name in _OF_DIRECTION}
        tensors = {kept.get(key, key): value for key, value in self.tensors.items() if "." not in key or key in kept}
        return replace(self, about=replace(self.about, names=[], at=[self.about.at[i]]), tensors=tensors)

    def prompts(self, vocabulary: Vocabulary) -> Prompts:
        """The prompts, as a model with that vocabulary reads them."""
        starts, one_of = (
            tuple(self.tensors[name].tolist()) if name in self.tensors else None for name in ("starts", "one_of")
        )
        lengths = tuple(self.tensors["lengths"].tolist())
        return Prompts(self.tensors["tokens"], lengths, vocabulary, starts=starts, one_of=one_of)

    def positions(self) -> Positions:
        """The positions asked about."""
        assert self.about is not None
        return Positions(self.tensors["index"], self.tensors["valid"], self.about.single, self.about.everything)

    def resolved(self) -> tuple[ResolvedDirection, ...]:
        """The directions, as they were resolved for these prompts."""
        assert self.about is not None
        given = [{name: self.tensors.get(f"{name}.{i}") for name in _OF_DIRECTION} for i in range(len(self.about.at))]
        return tuple(_direction_of(each, place) for each, place in zip(given, self.about.at, strict=True))

    def as_text(self) -> str:
        """The whole as one text, which `from_text` reads."""
        told = json.dumps(stored(asdict(_Told(self.cannot, self.about)))).encode()
        tensors = {**dict(self.tensors), "told": torch.frombuffer(bytearray(told), dtype=torch.uint8)}
        return base64.b64encode(tensor_files.save(tensors)).decode()

    @staticmethod
    def from_text(text: str) -> "Question":
        """What `as_text` was called on.

        Raises:
            ValueError: If it is no such text.
        """
        try:
            tensors = tensor_files.load(base64.b64decode(text, validate=True))
        except safetensors.SafetensorError as error:
            raise ValueError(f"what was asked cannot be read ({error})") from error
        told = declared(_Told, bytes(tensors.pop("told").tolist()))
        if told.about is None:
            return Question(told.cannot)
        about = restored(asdict(told.about))
        made_by = [RowsMadeBy(**step) for step in about["made_by"]]
        return Question(told.cannot, About(**{**about, "made_by": made_by}), tensors)


@final
@dataclass(frozen=True)
class _Told:
    cannot: str
    about: About | None


def _why_not(rerun: Rerun, provenance: Provenance) -> str:
    """Why the question of a result cannot be put into a file, as a sentence; empty where it can."""
    query = rerun.query
    if provenance.traced:
        return "It is a trace, which hangs on the result that was traced. Save that one, load it, and trace again."
    if provenance.edits:
        return "Its run was edited, and a file does not hold edits."
    if not (query.prompts.known and query.batched):
        return "It was made from a cache alone, or from one without a batch axis, and the prompts are not known."
    if not query.plan.made_by:
        return "Its rows were grouped. Save the result before group_by, load it, and group it again."
    if not query.model.is_current(query.model.anatomy):
        return "The model had changed between the run and the moment when it was saved."
    return ""


def _direction_of(tensors: Mapping[str, Any], at: str | None) -> ResolvedDirection:
    return ResolvedDirection(**tensors, at=at)

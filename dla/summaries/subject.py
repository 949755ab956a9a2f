"""What a summary is of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from dla.adapters.fingerprints import differences
from dla.decomposers import RowKind
from dla.provenance import model_name
from dla.results.label_index import LabelIndex
from dla.sweeps import PartOf, SweepFolder
from dla.sweeps.identity import computes_otherwise
from dla.sweeps.layout import REJECTED
from dla.text import some_of

SUM_MEASURES = ("total", "constant", "logit", "output_logit", "gap", "misfit")
"""What is measured next to the parts: what they add up to, the model's own logit, and `|gap| / tolerance`."""


@final
@dataclass(frozen=True)
class SummarySubject:
    """The model, the parts and the corpora.

    Attributes:
        model: The model's name.
        weights: A fingerprint of its weights.
        identity: What else it is, and what it computes for a fixed prompt, as the sweeps' manifests have it.
        prepend_bos: Whether a BOS token was put before each prompt; None is as the model does by default.
        direction: What was asked for: logits, or differences of two.
        decomposer: How the stream was split.
        row_kind: What the rows have to do with the total: additive, cumulative, lens.
        parts: The parts, in the order of the measures, which `SUM_MEASURES` follow.
        folders: The sweeps' folders.
        rejected: How many rows those could not ask.
        complete: Whether the sweeps came to their ends.
    """

    model: str
    weights: str
    identity: Mapping[str, Any] = field(repr=False)
    prepend_bos: bool | None
    direction: str
    decomposer: str
    row_kind: str
    parts: tuple[PartOf, ...]
    folders: tuple[str, ...]
    rejected: int
    complete: bool

    @classmethod
    def of(cls, folder: SweepFolder) -> "SummarySubject":
        """What a sweep's folder is of."""
        manifest, model = folder.manifest, folder.manifest["model"]
        return cls(
            model=model["name"],
            weights=model["weights"],
            # what the model computes for later prompts depends on the corpus
            identity={**model, "samples": model["samples"][:1], "numbers": model["numbers"][:1]},
            prepend_bos=manifest["settings"]["prepend_bos"],
            direction=manifest["direction"],
            decomposer=manifest["decomposer"],
            row_kind=manifest["row_kind"],
            parts=folder.parts,
            folders=(str(Path(folder.path).resolve()),),
            rejected=int(manifest["counts"]["rejected"]),
            complete=folder.complete,
        )

    @property
    def name(self) -> str:
        """The decomposer and the model, in short."""
        return f"{self.decomposer.partition('(')[0]} on {model_name(self.model)}"

    @property
    def additive(self) -> bool:
        """Whether the parts add up."""
        return self.row_kind == RowKind.ADDITIVE.value

    @property
    def labels(self) -> list[str]:
        """The parts' labels."""
        return [part.label for part in self.parts]

    @property
    def n_measures(self) -> int:
        """How many numbers each row has."""
        return len(self.parts) + len(SUM_MEASURES)

    @property
    def places(self) -> LabelIndex:
        """Where each part, and each of `SUM_MEASURES`, is among the measures."""
        return LabelIndex(self.labels, SUM_MEASURES)

    def nothing(self) -> str:
        """Why there is nothing to rank, where no prompt was kept."""
        folders = some_of(self.folders)
        if not self.complete:
            return f"The sweep in {folders} is not complete, and has no prompt yet. The same call of sweep resumes it."
        if not self.rejected:
            return f"The corpus of the sweep in {folders} has no rows. Sweep one that has some."
        return (
            f"No prompt was kept in the sweep in {folders}: all {self.rejected} rows were rejected. {REJECTED} there "
            "lists them with their reasons."
        )

    def merge(self, other: "SummarySubject") -> "SummarySubject":
        """What the rows of both are of.

        Raises:
            ValueError: If they are of different models, decomposers, parts or questions.
        """
        mine, yours = (f"{one.decomposer} on {one.model!r}" for one in (self, other))
        if mine == yours and self.weights != other.weights:
            yours += f" with other weights ({self.weights[:8]} and {other.weights[:8]})"
        if mine != yours:
            raise _nothing_in_common(mine, yours, "To set them side by side, use compare.")
        if self.direction != other.direction:
            remedy = "Merge summaries of one kind of question."
            raise _nothing_in_common(f"the {self.direction}", f"the {other.direction}", remedy)
        found = "; ".join(self._differences(other))
        if found:
            raise ValueError(
                f"Both summaries are of {mine}, but not of the same (the first there, the second here): {found}. A "
                "mean over both says nothing of either; use compare."
            )
        return replace(
            self,
            folders=tuple(dict.fromkeys((*self.folders, *other.folders))),
            rejected=self.rejected + (0 if set(other.folders) <= set(self.folders) else other.rejected),
            complete=self.complete and other.complete,
        )

    def _differences(self, other: "SummarySubject") -> Iterator[str]:
        """What is not alike in two sweeps of one model's weights, in words."""
        if self.parts != other.parts:
            some = some_of(sorted({*self.labels} ^ {*other.labels})) or "in another order"
            yield f"their parts differ ({some})"
        if self.prepend_bos != other.prepend_bos:
            yield f"prepend_bos was {self.prepend_bos} there and is {other.prepend_bos} here"
        yield from [*differences(self.identity, other.identity)] or computes_otherwise(self.identity, other.identity)


def _nothing_in_common(mine: str, yours: str, remedy: str) -> ValueError:
    return ValueError(
        f"One summary is of {mine}, the other of {yours}; a mean over both says nothing of either. {remedy}"
    )

"""What a summary is of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from dla.decomposers import RowKind
from dla.results.label_index import Kind, LabelIndex, Labels, Layer, OneLabel, chosen
from dla.sweeps import PartOf, SweepFolder
from dla.sweeps.identity import computes_otherwise, differences
from dla.sweeps.layout import REJECTED

SUMS = ("total", "constant", "logit", "output_logit", "gap", "misfit")
"""What is measured beside the parts: what they add up to, the model's own logit, and `|gap| / tolerance`."""


@final
@dataclass(frozen=True)
class About:
    """The model, the parts and the corpora.

    Attributes:
        model: The model's name.
        weights: A fingerprint of its weights.
        identity: What else it is, and what it computes for a fixed prompt, as the sweeps' manifests have it.
        prepend_bos: Whether a BOS token was put before each prompt; None is as the model does by default.
        direction: What was asked for: logits, or differences of two.
        decomposer: How the stream was split.
        row_kind: What the rows have to do with the total: additive, cumulative, lens.
        parts: The parts, in the order of the measures, which `SUMS` follow.
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

    @property
    def name(self) -> str:
        """The decomposer and the model, in short."""
        model = Path(self.model).name if Path(self.model).is_absolute() else self.model
        return f"{self.decomposer.partition('(')[0]} on {model}"

    @property
    def additive(self) -> bool:
        """Whether the parts add up."""
        return self.row_kind == RowKind.ADDITIVE.value

    @property
    def labels(self) -> list[str]:
        """The parts' labels."""
        return [part.label for part in self.parts]

    @property
    def measures(self) -> int:
        """How many numbers each row has."""
        return len(self.parts) + len(SUMS)

    def nothing(self) -> str:
        """Why there is nothing to rank, where no prompt was kept."""
        folders = ", ".join(self.folders)
        if not self.complete:
            return f"The sweep in {folders} is not complete, and has no prompt yet. The same call of sweep goes on."
        if not self.rejected:
            return f"The corpus of the sweep in {folders} has no rows. Sweep one that has some."
        return (
            f"No prompt was kept in the sweep in {folders}: all {self.rejected} rows were rejected. {REJECTED} there "
            "lists them with their reasons."
        )

    def place(self, label: OneLabel) -> int:
        """Where a part, or one of `SUMS`, is among the measures.

        Raises:
            ValueError: If there is no such part.
        """
        return LabelIndex(self.labels, SUMS)(label)

    def places(
        self,
        label: Labels,
        kind: Kind,
        layer: Layer,
        where: Callable[[PartOf], bool] | None,
    ) -> list[int]:
        """Where those of the parts are that fit.

        Raises:
            TypeError: If something else is asked for.
            ValueError: If none does, or a label does not exist.
        """
        return chosen(self.parts, {"label": label, "kind": kind, "layer": layer}, LabelIndex(self.labels, SUMS), where)

    def merge(self, other: "About") -> "About":
        """What the rows of both are of.

        Raises:
            ValueError: If they are of different models, decomposers, parts or questions.
        """
        names = (f"{self.decomposer} on {self.model!r}", f"{other.decomposer} on {other.model!r}")
        if names[0] != names[1] or self.weights != other.weights:
            apart = "" if names[0] != names[1] else f" with other weights ({self.weights[:8]} and {other.weights[:8]})"
            raise ValueError(
                f"One summary is of {names[0]}, the other of {names[1]}{apart}; a mean over both says nothing of "
                "either. To set them side by side, use compare."
            )
        if self.direction != other.direction:
            raise ValueError(
                f"One summary is of the {self.direction}, the other of the {other.direction}; a mean over both says "
                "nothing of either. Merge summaries of one kind of question."
            )
        if self.parts != other.parts:
            some = ", ".join(sorted({*self.labels} ^ {*other.labels})[:4]) or "in another order"
            raise ValueError(
                f"Both summaries are of {names[0]}, but their parts differ ({some}). Merge summaries of the same parts."
            )
        told = [*differences(self.identity, other.identity)] or [*computes_otherwise(self.identity, other.identity)]
        if self.prepend_bos != other.prepend_bos:
            told = [f"prepend_bos was {self.prepend_bos} there and is {other.prepend_bos} here"]
        if told:
            raise ValueError(
                f"Both summaries are of {names[0]}, but not of the same (the first there, the second here): "
                f"{'; '.join(told)}. A mean over both says nothing of either; use compare."
            )
        return replace(
            self,
            folders=tuple(dict.fromkeys((*self.folders, *other.folders))),
            rejected=self.rejected + (0 if set(other.folders) <= set(self.folders) else other.rejected),
            complete=self.complete and other.complete,
        )


def about(folder: SweepFolder) -> About:
    """What a sweep's folder is of."""
    manifest = folder.manifest
    fixed = {name: manifest["model"][name][:1] for name in ("samples", "numbers")}  # the others are of the corpus
    return About(
        model=manifest["model"]["name"],
        weights=manifest["model"]["weights"],
        identity={**manifest["model"], **fixed},
        prepend_bos=manifest["settings"]["prepend_bos"],
        direction=manifest["direction"],
        decomposer=manifest["decomposer"],
        row_kind=manifest["row_kind"],
        parts=folder.parts,
        folders=(str(Path(folder.path).resolve()),),
        rejected=int(manifest["counts"]["rejected"]),
        complete=folder.complete,
    )

"""What a summary is of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import final

from dla.decomposers import Law
from dla.sweeps import PartOf, SweepFolder

SUMS = ("total", "constant", "logit", "output_logit", "gap", "misfit")
"""What is measured beside the parts: what they add up to, the model's own logit, and `|gap| / tolerance`."""


@final
@dataclass(frozen=True)
class About:
    """The model, the parts and the corpora.

    Attributes:
        model: The model's name.
        weights: A fingerprint of its weights.
        decomposer: How the stream was split.
        law: Whether the parts are a partition or a trajectory.
        parts: The parts, in the order of the measures, which `SUMS` follow.
        folders: The sweeps' folders.
        rejected: How many rows those could not ask.
        complete: Whether the sweeps came to their ends.
    """

    model: str
    weights: str
    decomposer: str
    law: str
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
    def partition(self) -> bool:
        """Whether the parts add up."""
        return self.law == Law.PARTITION.value

    @property
    def labels(self) -> list[str]:
        """The parts' labels."""
        return [part.label for part in self.parts]

    @property
    def measures(self) -> int:
        """How many numbers each row has."""
        return len(self.parts) + len(SUMS)

    def place(self, label: str) -> int:
        """Where a part, or one of `SUMS`, is among the measures.

        Raises:
            ValueError: If there is no such part.
        """
        known = [*self.labels, *SUMS]
        if label not in known:
            close = get_close_matches(label, known, 3)
            likely = f" Close to it: {', '.join(close)}." if close else ""
            some = ", ".join(self.labels[:4])
            raise ValueError(f"There is no part {label!r}; the parts are {some}, ... (see `labels`).{likely}")
        return known.index(label)

    def places(
        self,
        label: str | Sequence[str] | None,
        kind: str | None,
        layer: int | None,
        where: Callable[[PartOf], bool] | None,
    ) -> list[int]:
        """Where those of the parts are that fit.

        Raises:
            ValueError: If none does, or a label does not exist.
        """
        wanted = None if label is None else {label} if isinstance(label, str) else set(label)
        for name in sorted(wanted or ()):
            self.place(name)
        found = [
            i
            for i, part in enumerate(self.parts)
            if (wanted is None or part.label in wanted)
            and (kind is None or part.kind == kind)
            and (layer is None or part.layer == layer)
            and (where is None or where(part))
        ]
        if not found:
            kinds = ", ".join(sorted({part.kind for part in self.parts}))
            raise ValueError(f"No part matches kind={kind!r}, layer={layer!r}; the kinds here are {kinds}.")
        return found

    def merge(self, other: "About") -> "About":
        """What the rows of both are of.

        Raises:
            ValueError: If they are of different models, decomposers or parts.
        """
        names = (f"{self.decomposer} on {self.model!r}", f"{other.decomposer} on {other.model!r}")
        if names[0] != names[1] or self.weights != other.weights:
            apart = "" if names[0] != names[1] else f" with other weights ({self.weights[:8]} and {other.weights[:8]})"
            raise ValueError(
                f"One summary is of {names[0]}, the other of {names[1]}{apart}; a mean over both says nothing of "
                "either. To set them side by side, use compare."
            )
        if self.parts != other.parts:
            some = ", ".join(sorted({*self.labels} ^ {*other.labels})[:4]) or "in another order"
            raise ValueError(
                f"Both summaries are of {names[0]}, but their parts differ ({some}). Merge summaries of the same parts."
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
    return About(
        model=manifest["model"]["name"],
        weights=manifest["model"]["weights"],
        decomposer=manifest["decomposer"],
        law=manifest["law"],
        parts=folder.parts,
        folders=(str(Path(folder.path).resolve()),),
        rejected=int(manifest["counts"]["rejected"]),
        complete=folder.complete,
    )

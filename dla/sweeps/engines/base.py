"""The interface of an engine."""

import abc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from dla.attributor import Attributor
from dla.sweeps.batches import BatchSettings
from dla.sweeps.corpora import Corpus
from dla.sweeps.shards import ShardResult
from dla.sweeps.static_plan import StaticPlan
from dla.sweeps.sweep_rows import SweepRow
from dla.sweeps.worker import Worker


@final
@dataclass(frozen=True, eq=False)
class SweepJob:
    """What is to be done.

    Attributes:
        corpus: The rows.
        attributor: The model, and how it is split.
        plan: The decomposer's plan for it.
        settings: How to go over the corpus.
        folder: Where to write.
        model: What the model is and computes, as the manifest has it.
        samples: The questions by which that is seen.
    """

    corpus: Corpus = field(repr=False)
    attributor: Attributor = field(repr=False)
    plan: StaticPlan = field(repr=False)
    settings: BatchSettings
    folder: Path
    model: Mapping[str, Any] = field(repr=False)
    samples: Sequence[SweepRow] = field(repr=False)

    def windows(self) -> list[tuple[int, int]]:
        """The first row of each window, and the row after its last."""
        size, step = self.settings.rows(self.corpus.size), self.settings.window
        return [(start, min(start + step, size)) for start in range(0, size, step)]

    def worker(self) -> Worker:
        """What does it here."""
        return Worker(self.plan, self.corpus, self.settings, self.folder)


class Engine(abc.ABC):
    """Where the work of a sweep is done.

    Law: every window of the job goes once through a `Worker`, which decides on the batches, so that all engines write
    the same rows into the same shards.
    """

    @abc.abstractmethod
    def results(self, job: SweepJob) -> Iterator[ShardResult]:
        """Does the job; gives the result of each batch as soon as its shard is there."""

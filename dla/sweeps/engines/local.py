"""In this process."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from dla.sweeps.engines.base import Engine, SweepJob
from dla.sweeps.shards import ShardResult


@final
@dataclass(frozen=True)
class LocalEngine(Engine):
    """Does one batch after the other in this process, on the model as it is."""

    def results(self, job: SweepJob) -> Iterator[ShardResult]:
        worker = job.worker()
        for start, stop in job.windows():
            yield from worker.shards(start, stop)

"""On a Ray cluster: actors that hold the model are handed windows of the corpus, and write the shards."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch

from dla.adapters.fingerprints import differences
from dla.attributor import Attributor
from dla.decomposers import Decomposer
from dla.inputs.arguments import check_fields, function
from dla.inputs.given import count, number
from dla.sweeps.batches import BatchSettings
from dla.sweeps.engines.base import Engine, SweepJob
from dla.sweeps.engines.cluster import DEATHS, check_room, connected, plain_errors, ray_package, received, sent
from dla.sweeps.identity import computes_otherwise, identity
from dla.sweeps.question import SweepQuestion
from dla.sweeps.shards import ShardResult
from dla.sweeps.static_plan import StaticPlan
from dla.sweeps.sweep_rows import SweepRow
from dla.sweeps.worker import Worker


@final
@dataclass(frozen=True)
class RayEngine(Engine):
    """Does the batches on a Ray cluster; needs the extra `dla[ray]`.

    Each actor holds the model, reads the windows of the corpus that it is handed and writes their shards, so every
    node must see the corpus' files and the folder under the same paths; a data frame is sent to the nodes. When an
    actor dies Ray starts it again, and it does its window again, except for the shards that are there.

    The batches are those of the local engine, so the rows are too: to the last bit where an actor computes as this
    process does (the same device and number of threads), else up to rounding.

    Attributes:
        actors: How many actors hold the model.
        gpus: How many GPUs each gets; a fraction puts several on one.
        cpus: How many CPUs each gets, which is also how many threads it computes with.
        address: The address of a cluster; None for the one that this process is connected to, else what `ray.init()`
            finds or starts. A connection that the sweep made ends with it.
        load: Called in each actor, gives the model there: on the actor's device (or devices, where it is spread over
            the `gpus` that an actor gets), with the weights and the hooks of the attributor's: an actor whose model
            computes something else ends the sweep. It must be importable on every node, or defined in the script that
            is run. None sends the attributor's own model by pickle, which must be on a device that the actors have.
    """

    actors: int = 2
    gpus: int | float = 0
    cpus: int = 1
    address: str | None = None
    load: Callable[[], Any] | None = None

    def __post_init__(self) -> None:
        for name in ("actors", "cpus"):
            object.__setattr__(self, name, count(getattr(self, name), f"RayEngine: {name}", "of them"))
        object.__setattr__(self, "gpus", number(self.gpus, "a number of GPUs"))
        if self.gpus < 0:
            raise ValueError(f"RayEngine: gpus={self.gpus:g}. Pass how many each actor gets, from 0 on.")
        check_fields(self, address=(str, type(None)))
        if self.load is not None:
            function(self.load, "RayEngine: load", "one that returns the model")

    def results(self, job: SweepJob) -> Iterator[ShardResult]:
        """Does the job.

        Raises:
            MissingPackageError: If Ray is not installed.
            ValueError: If nobody answers at the address, or the cluster has no room for the actors.
            TypeError: If the model, the decomposer or the corpus cannot be sent to the actors.
            DLAError: If actors die one after the other, or the cluster is lost.
        """
        windows = job.windows()
        if not windows:
            return
        ray = ray_package()
        with connected(ray, self.address), plain_errors(ray):
            check_room(ray, self.actors, self.cpus, self.gpus)
            setup, corpus = (
                sent(ray, self._setup(job), "model or decomposer"),
                sent(ray, job.corpus, "corpus"),
            )
            options = {"num_cpus": self.cpus, "num_gpus": self.gpus}
            actor = ray.remote(**options, max_restarts=-1, max_task_retries=DEATHS - 1)(_Actor)
            # in a list, a reference arrives as a reference: what cannot be read is then our error, not an actor's death
            actors = [actor.remote([setup, corpus]) for _ in range(min(self.actors, len(windows)))]
            try:
                pool = ray_package("util").ActorPool(actors)
                for results in pool.map_unordered(lambda each, window: each.work.remote(*window), windows):
                    yield from results
            finally:
                for each in actors:
                    ray.kill(each)

    def _setup(self, job: SweepJob) -> "_ActorSetup":
        attributor = job.attributor
        model = attributor.model.source if self.load is None else None
        return _ActorSetup(
            *(model, self.load, attributor.decomposer, job.plan.question, job.settings, job.folder),
            *(job.model, job.samples, job.plan.digest, self.cpus),
        )


@final
@dataclass(frozen=True, eq=False)
class _ActorSetup:
    """What an actor must know; as `SweepJob`, with the model or what loads it."""

    model: Any
    load: Callable[[], Any] | None
    decomposer: Decomposer
    question: SweepQuestion
    settings: BatchSettings
    folder: Path
    expected: Mapping[str, Any]
    samples: Sequence[SweepRow]
    digest: str
    threads: int

    def plan(self) -> StaticPlan:
        """The plan for the model in this process.

        Raises:
            ValueError: If it is another model than the attributor's, or computes something else.
        """
        model = self.model if self.load is None else self.load()
        attributor = Attributor(model, self.decomposer, check="raise" if self.settings.check == "raise" else "warn")
        plan = StaticPlan(attributor, self.question)
        found = identity(plan, self.samples)
        parts = [] if plan.digest == self.digest else ["its parts differ"]
        wrong = [*differences(self.expected, found), *parts] or [*computes_otherwise(self.expected, found)]
        if wrong:
            raise ValueError(
                f"The model in an actor (here) is not the attributor's (there): {'; '.join(wrong)}. Let load() give "
                "the same model, in the same dtype and with the same hooks."
            )
        return plan


@final
class _Actor:
    """Holds the model; reads windows of the corpus and does them."""

    def __init__(self, references: Sequence[Any]) -> None:
        self._setup, self._corpus = references

    @cached_property
    def _worker(self) -> Worker:
        setup: _ActorSetup = received(self._setup)
        torch.set_num_threads(setup.threads)
        return Worker(setup.plan(), received(self._corpus), setup.settings, setup.folder)

    def work(self, start: int, stop: int) -> list[ShardResult]:
        """Does one window."""
        return [*self._worker.shards(start, stop)]

"""On a Ray cluster: actors that hold the model are handed windows of the corpus, and write the shards."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import torch

from dla.attributor import Attributor
from dla.decomposers import Decomposer
from dla.errors import DLAError
from dla.sweeps.corpora import Corpus
from dla.sweeps.engines.base import Engine, Job, worker_of
from dla.sweeps.engines.cluster import check_room, connected, plain_errors, ray_package, received, sent
from dla.sweeps.fixed import FixedPlan
from dla.sweeps.identity import computes_otherwise, differences, identity
from dla.sweeps.questions import SweepRow
from dla.sweeps.settings import BatchSettings
from dla.sweeps.shards import Receipt
from dla.sweeps.worker import Worker

_AHEAD = 2
"""How many windows an actor has at most: the one that it does, and the next, so that it never waits."""

_DEATHS = 3
"""How many actors may die without a window done in between; then the cause is not the machine."""


@final
@dataclass(frozen=True)
class RayEngine(Engine):
    """Does the batches on a Ray cluster; needs the extra `dla[ray]`.

    Each actor holds the model, reads the windows of the corpus that it is handed and writes their shards, so every
    node must see the corpus' files and the folder under the same paths; a data frame is sent to the nodes. When an
    actor dies another takes its place, which does its windows again, but for the shards that are there.

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
        if self.actors < 1 or self.cpus < 1 or self.gpus < 0:
            raise ValueError(
                f"RayEngine(actors={self.actors}, gpus={self.gpus}, cpus={self.cpus}): at least one actor with at "
                "least one CPU is needed."
            )

    def receipts(self, job: Job) -> Iterator[Receipt]:
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
            orders, corpus = sent(ray, self._orders(job), "model or decomposer"), sent(ray, job.corpus, "corpus")
            crew = _Crew(ray, self, orders, corpus)
            try:
                for receipts in crew.work(windows):
                    yield from receipts
            finally:
                crew.dismiss()

    def _orders(self, job: Job) -> "_Orders":
        attributor = job.attributor
        model = attributor.model.source if self.load is None else None
        return _Orders(
            *(model, self.load, attributor.decomposer, job.settings, job.folder),
            *(job.model, job.samples, job.plan.digest, self.cpus),
        )


@final
class _Crew:
    """The actors of one sweep, and who does which windows."""

    def __init__(self, ray: Any, engine: RayEngine, orders: Any, corpus: Any) -> None:
        self._ray, self._engine = ray, engine
        actor = ray.remote(num_cpus=engine.cpus, num_gpus=engine.gpus)(_Actor)
        # in a list, a reference arrives as a reference: what cannot be read is then our error, not the actor's death
        self._hire: Callable[[], Any] = lambda: actor.remote([orders, corpus])
        self._actors: list[Any] = []
        self._tasks: dict[Any, tuple[Any, tuple[int, int]]] = {}

    def work(self, windows: Sequence[tuple[int, int]]) -> Iterator[list[Receipt]]:
        """The receipts of each window, as soon as it is done; the windows of an actor that dies are done again."""
        todo, deaths = [*reversed(windows)], 0
        self._actors = [self._hire() for _ in range(min(self._engine.actors, len(windows)))]
        while todo or self._tasks:
            self._hand_out(todo)
            (done,), _ = self._ray.wait([*self._tasks], num_returns=1)
            actor, window = self._tasks.pop(done)
            try:
                receipts = self._ray.get(done)
            except self._ray.exceptions.RayActorError as error:
                todo.append(window)
                deaths += self._replace(actor)
                if deaths >= _DEATHS:
                    raise DLAError(_dying(error, deaths)) from error
            else:
                deaths = 0
                yield receipts

    def _hand_out(self, todo: list[tuple[int, int]]) -> None:
        for _ in range(_AHEAD):
            busy = [actor for actor, _ in self._tasks.values()]
            for actor in self._actors:
                if todo and busy.count(actor) < _AHEAD:
                    window = todo.pop()
                    self._tasks[actor.work.remote(*window)] = actor, window
                    busy.append(actor)

    def _replace(self, dead: Any) -> int:
        """Puts another actor in a dead one's place; says whether that is news: each of its windows tells of it."""
        if dead not in self._actors:
            return 0
        self._ray.kill(dead)  # it may only have been out of reach
        self._actors[self._actors.index(dead)] = self._hire()
        return 1

    def dismiss(self) -> None:
        """Ends the actors; a shard that is half written is no shard."""
        for actor in self._actors:
            self._ray.kill(actor)


@final
@dataclass(frozen=True, eq=False)
class _Orders:
    """What an actor must know; as `Job`, with the model or what loads it."""

    model: Any
    load: Callable[[], Any] | None
    decomposer: Decomposer
    settings: BatchSettings
    folder: Path
    expected: Mapping[str, Any]
    samples: Sequence[SweepRow]
    digest: str
    threads: int

    def plan(self) -> FixedPlan:
        """The plan for the model in this process.

        Raises:
            ValueError: If it is another model than the attributor's, or computes something else.
        """
        model = self.model if self.load is None else self.load()
        attributor = Attributor(model, self.decomposer, check="raise" if self.settings.check == "raise" else "warn")
        plan = FixedPlan(attributor)
        found = identity(plan, self.samples)
        parts = [] if plan.digest == self.digest else ["its parts differ"]
        told = [*differences(self.expected, found), *parts] or [*computes_otherwise(self.expected, found)]
        if told:
            raise ValueError(
                f"The model in an actor (here) is not the attributor's (there): {'; '.join(told)}. Let load() give the "
                "same model, in the same dtype and with the same hooks."
            )
        return plan


@final
class _Actor:
    """Holds the model; reads windows of the corpus and does them."""

    def __init__(self, sent: Sequence[Any]) -> None:
        self._orders, self._corpus = sent

    @cached_property
    def _work(self) -> tuple[Corpus, Worker]:
        known: _Orders = received(self._orders)
        torch.set_num_threads(known.threads)
        corpus: Corpus = received(self._corpus)
        return corpus, worker_of(known.plan(), known.settings, known.folder, corpus)

    def work(self, start: int, stop: int) -> list[Receipt]:
        """Does one window."""
        corpus, worker = self._work
        return [*worker.shards(corpus.window(start, stop))]


def _dying(error: Exception, deaths: int) -> str:
    last = " ".join(str(error).split())
    return (
        f"{deaths} actors died one after the other, without a window done in between; what is done stays. A model that "
        f"does not fit into memory, or a load() that ends its process, does that. Ray says: {last[:300]}"
    )

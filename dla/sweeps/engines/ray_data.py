"""On a Ray cluster: Ray Data hands out windows of the corpus to actors that hold the model and write the shards."""

import importlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from pickle import PicklingError
from typing import Any, final

import numpy as np
import torch

from dla.adapters.weights import source_of
from dla.attributor import Attributor
from dla.decomposers import Decomposer
from dla.errors import DLAError, FileFormatError, MissingPackageError
from dla.sweeps.corpora import Corpus
from dla.sweeps.engines.base import Engine, Job, worker_of
from dla.sweeps.fixed import FixedPlan
from dla.sweeps.identity import computes_otherwise, departures, identity
from dla.sweeps.questions import Question
from dla.sweeps.settings import Settings
from dla.sweeps.shards import Receipt
from dla.sweeps.worker import Worker

_BLOCKS = 1000
"""How many tasks the windows are spread over at most."""


_KINDS: Mapping[str, type[Exception]] = {
    "OSError": OSError,
    "ValueError": ValueError,
    "FileFormatError": FileFormatError,
    "DLAError": DLAError,
}
"""The errors that an actor tells of by name; the first that fits."""

_RECEIPT = tuple(field.name for field in fields(Receipt))


@final
@dataclass(frozen=True)
class RayEngine(Engine):
    """Does the batches on a Ray cluster; needs the extra `dla[ray]`.

    Ray Data hands out the windows of the corpus to actors. Each holds the model, reads its windows and writes their
    shards, so every node must see the corpus' files and the folder under the same paths; a data frame is sent to the
    nodes. When an actor dies Ray starts another, which does its window again, but for the shards that are there.

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
            TypeError: If the model, the decomposer or the corpus cannot be sent to the actors.
        """
        windows = job.windows()
        if not windows:
            return
        ray, data = _ray(), _ray("data")
        with _connected(ray, self.address), _quiet(data):
            corpus, orders = _sent(ray, job.corpus, "corpus"), _sent(ray, self._orders(job), "model or decomposer")
            items = [{"start": start, "stop": stop} for start, stop in windows]
            work = data.from_items(items, override_num_blocks=min(len(items), _BLOCKS)).map_batches(
                _Actor,
                fn_constructor_args=(corpus, orders),
                batch_size=1,
                compute=data.ActorPoolStrategy(size=self.actors),
                num_cpus=self.cpus,
                num_gpus=self.gpus,
            )
            with _plain_errors(ray):
                yield from map(_told, work.iter_rows())

    def _orders(self, job: Job) -> "_Orders":
        attributor = job.attributor
        model = source_of(attributor.model) if self.load is None else None
        return _Orders(
            *(model, self.load, attributor.decomposer, job.settings, job.folder),
            *(job.model, job.samples, job.plan.digest, self.cpus),
        )


@final
@dataclass(frozen=True, eq=False)
class _Orders:
    """What an actor must know; as `Job`, with the model or what loads it."""

    model: Any
    load: Callable[[], Any] | None
    decomposer: Decomposer
    settings: Settings
    folder: Path
    expected: Mapping[str, Any]
    samples: Sequence[Question]
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
        told = [*departures(self.expected, found), *parts] or [*computes_otherwise(self.expected, found)]
        if told:
            raise ValueError(
                f"The model in an actor (here) is not the attributor's (there): {'; '.join(told)}. Let load() give the "
                "same model, in the same dtype and with the same hooks."
            )
        return plan


@final
class _Actor:
    """Holds the model; reads windows of the corpus and does them."""

    def __init__(self, corpus: Any, orders: Any) -> None:
        self._corpus, self._orders = corpus, orders

    @cached_property
    def _work(self) -> tuple[Corpus, Worker]:
        known: _Orders = _received(self._orders)
        torch.set_num_threads(known.threads)
        corpus: Corpus = _received(self._corpus)
        return corpus, worker_of(known.plan(), known.settings, known.folder, corpus)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        receipts: list[Receipt] = []
        kind = failure = ""
        try:
            corpus, worker = self._work
            windows = zip(batch["start"].tolist(), batch["stop"].tolist(), strict=True)
            receipts = [receipt for window in windows for receipt in worker.shards(corpus.window(*window))]
        except tuple(_KINDS.values()) as error:  # as data: Ray would tell it in a page of its own calls
            kind = next(name for name, known in _KINDS.items() if isinstance(error, known))
            receipts, failure = [Receipt(-1, 0, 0, 0, new=False)], str(error)
        columns = {name: np.array([getattr(receipt, name) for receipt in receipts]) for name in _RECEIPT}
        return {**columns, "kind": np.array([kind] * len(receipts)), "failure": np.array([failure] * len(receipts))}


def _received(sent: Any) -> Any:
    """What the sweep sent to all actors.

    Raises:
        ValueError: If it cannot be read here. Ray would take that for a fault of the machine, and try for ever.
    """
    try:
        return _ray().get(sent)
    except _ray().exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise ValueError(
            f"What the sweep sent cannot be read ({last}). What load() or the decomposer is made of must be importable "
            "on every node."
        ) from error


def _told(row: Mapping[str, Any]) -> Receipt:
    """What an actor told, as a receipt.

    Raises:
        OSError, ValueError, DLAError: What went wrong in the actor.
    """
    if row["kind"]:
        raise _KINDS[row["kind"]](f"In an actor: {row['failure']}")
    number, prompts, rejected, unknown = (int(row[name]) for name in _RECEIPT[:-1])
    return Receipt(number, prompts, rejected, unknown, bool(row["new"]))


def _ray(module: str = "") -> Any:
    try:
        return importlib.import_module(f"ray.{module}" if module else "ray")
    except ImportError as error:
        raise MissingPackageError("This engine needs Ray, which is not installed: pip install 'dla[ray]'") from error


def _sent(ray: Any, what: Any, name: str) -> Any:
    try:
        return ray.put(what)
    except (TypeError, AttributeError, PicklingError, RuntimeError) as error:
        first = str(error.__cause__ or error).strip().splitlines()[0]
        raise TypeError(
            f"The {name} cannot be sent to the actors ({first}). A model can be loaded there instead: "
            "RayEngine(load=a function that returns it); a decomposer must be one that pickle can write."
        ) from error


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """A connection to a cluster: the one there is, or one for as long as this takes."""
    if ray.is_initialized():
        yield
        return
    options = {} if address is not None else {"include_dashboard": False}
    ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, **options)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _plain_errors(ray: Any) -> Iterator[None]:
    """What Ray tells of, in a line."""
    try:
        yield
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise DLAError(f"The sweep stopped on the cluster ({last}). What is done stays there.") from error


@contextmanager
def _quiet(data: Any) -> Iterator[None]:
    """No bars and plans of Ray Data's own beside the sweep's bar; its errors are raised anyway."""
    context, logger = data.DataContext.get_current(), logging.getLogger("ray.data")
    before = context.enable_progress_bars, logger.level
    context.enable_progress_bars = False
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars, level = before
        logger.setLevel(level)

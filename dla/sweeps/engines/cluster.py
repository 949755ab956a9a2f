"""Reaching a Ray cluster: does it answer, is there room, what can be sent, and its errors in one line."""

import importlib
import logging
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pickle import PicklingError
from typing import Any

from dla.errors import DLAError, FileFormatError, MissingPackageError

_SECONDS = 5.0
"""How long an address may take to answer."""

_KINDS: Sequence[type[Exception]] = (FileFormatError, DLAError, ValueError, OSError)
"""The errors of an actor that the sweep raises as they are; the first that fits."""


def ray_package() -> Any:
    """The package, imported when it is needed.

    Raises:
        MissingPackageError: If it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise MissingPackageError("This engine needs Ray, which is not installed: pip install 'dla[ray]'") from error


def sent(ray: Any, what: Any, name: str) -> Any:
    """Puts an object into the cluster's store, once for all actors; gives the reference to it.

    Raises:
        TypeError: If it cannot be pickled.
    """
    try:
        return ray.put(what)
    except (TypeError, AttributeError, PicklingError, RuntimeError) as error:
        first = str(error.__cause__ or error).strip().splitlines()[0]
        raise TypeError(
            f"The {name} cannot be sent to the actors ({first}). A model can be loaded there instead: "
            "RayEngine(load=a function that returns it); a decomposer must be one that pickle can write."
        ) from error


@contextmanager
def connected(ray: Any, address: str | None) -> Iterator[None]:
    """A connection to a cluster: the one there is, or one for as long as this takes."""
    if ray.is_initialized():
        yield
        return
    _check_address(address)
    options = {} if address is not None else {"include_dashboard": False}
    ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, **options)
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str | None) -> None:
    """Ray itself tries for minutes.

    Raises:
        ValueError: If nobody answers there.
    """
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():  # "auto", "local": Ray finds out
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"Nobody answers at the address {address!r} ({error}). Pass the address that `ray start --head` printed, "
            "or none: the sweep then starts Ray on this machine."
        ) from error


def check_room(ray: Any, actors: int, cpus: int, gpus: int | float) -> None:
    """Ray itself waits for ever.

    Raises:
        ValueError: If the cluster has no room for the actors.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(_fitting(cpus, gpus, node) for node in nodes)
    if room < actors:
        there = "; ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise ValueError(
            f"{actors} actors with {cpus} CPUs and {gpus:g} GPUs each were asked for, and the "
            f"cluster has room for {room}; its nodes have: {there}. Ask for fewer, or start more nodes first."
        )


def _fitting(cpus: int, gpus: int | float, node: Mapping[str, float]) -> int:
    """How many actors a node can hold."""
    asked = {"CPU": cpus, "GPU": gpus}
    return int(min(node.get(name, 0) // amount for name, amount in asked.items() if amount))


@contextmanager
def plain_errors(ray: Any) -> Iterator[None]:
    """What went wrong in an actor as the sweep would say it, and what Ray tells of in a line."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        for kind in _KINDS:
            if isinstance(error.cause, kind):
                raise kind(f"In an actor: {error.cause}") from error
        raise DLAError(f"The sweep stopped in an actor ({error.cause!r}). What is done stays there.") from error
    except ray.exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise DLAError(f"The sweep stopped on the cluster ({last}). What is done stays there.") from error


def received(reference: Any) -> Any:
    """The object that `sent` put there; called in an actor.

    Raises:
        ValueError: If it cannot be read here.
    """
    try:
        return ray_package().get(reference)
    except ray_package().exceptions.RayError as error:
        last = str(error).strip().splitlines()[-1]
        raise ValueError(
            f"What the sweep sent cannot be read ({last}). What load() or the decomposer is made of must be importable "
            "on every node."
        ) from error

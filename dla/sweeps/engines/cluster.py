"""Reaching a Ray cluster: does it answer, is there room, what can be sent, and its errors in one line."""

import importlib
import logging
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pickle import PicklingError
from typing import Any

from dla.errors import DLAError, FileFormatError, MissingPackageError
from dla.inputs.given import shown

DEATHS = 3
"""How many times actors may die over the same window; then the cause is not the machine."""

_SECONDS = 5.0
"""How long an address may take to answer."""

_KINDS: Sequence[type[Exception]] = (FileFormatError, DLAError, ValueError, OSError)
"""The errors of an actor that the sweep raises as they are; the first that fits."""


def ray_package(module: str = "") -> Any:
    """Ray or one of its modules, imported when it is needed.

    Raises:
        MissingPackageError: If it is not installed.
    """
    try:
        return importlib.import_module(f"ray.{module}" if module else "ray")
    except ImportError as error:
        raise MissingPackageError("This engine needs Ray, which is not installed: pip install 'dla[ray]'") from error


@contextmanager
def connected(ray: Any, address: str | None) -> Iterator[None]:
    """A connection to a cluster: the one there is, or one for as long as this takes.

    Raises:
        ValueError: If nobody answers at the address.
    """
    if ray.is_initialized():
        yield
        return
    _check_address(address)
    options = {} if address is not None else {"include_dashboard": False}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, **options)
    except (ValueError, ConnectionError) as error:
        raise ValueError(
            f"Ray finds no cluster at the address {shown(address)} ({_last_line(error)}). Pass the address that "
            "`ray start --head` printed, or none: the sweep then starts Ray on this machine."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str | None) -> None:
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():  # "auto", "local": Ray finds out
        return
    try:  # Ray itself tries for minutes
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"Nobody answers at the address {address!r} ({error}). Pass the address that `ray start --head` printed, "
            "or none: the sweep then starts Ray on this machine."
        ) from error


def check_room(ray: Any, actors: int, cpus: int, gpus: int | float) -> None:
    """Whether the cluster has room for the actors; Ray itself waits for ever.

    Args:
        ray: The package.
        actors: How many actors are asked for.
        cpus: How many CPUs each gets.
        gpus: How many GPUs each gets.

    Raises:
        ValueError: If there is no room.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    asked = {"CPU": cpus, "GPU": gpus}
    room = sum(int(min(node.get(name, 0) // amount for name, amount in asked.items() if amount)) for node in nodes)
    if room < actors:
        there = "; ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise ValueError(
            f"{actors} actors with {cpus} CPUs and {gpus:g} GPUs each were asked for, and the "
            f"cluster has room for {room}; its nodes have: {there}. Ask for fewer, or start more nodes first."
        )


def sent(ray: Any, what: Any, name: str) -> Any:
    """Puts an object into the cluster's store, once for all actors; gives the reference to it.

    Args:
        ray: The package.
        what: The object.
        name: What an error calls it.

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


def received(reference: Any) -> Any:
    """The object that `sent` put there; called in an actor.

    Raises:
        ValueError: If it cannot be read here.
    """
    try:
        return ray_package().get(reference)
    except ray_package().exceptions.RayError as error:
        raise ValueError(
            f"What the sweep sent cannot be read ({_last_line(error)}). What load() or the decomposer is made of must "
            "be importable on every node."
        ) from error


@contextmanager
def plain_errors(ray: Any) -> Iterator[None]:
    """What went wrong in an actor as the sweep itself would say it, and Ray's own errors in one line."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        for kind in _KINDS:
            if isinstance(error.cause, kind):
                raise kind(f"In an actor: {error.cause}") from error
        raise DLAError(f"The sweep stopped in an actor ({error.cause!r}). What is done stays there.") from error
    except ray.exceptions.RayActorError as error:
        raise DLAError(
            f"{DEATHS} actors died one after the other, over the same rows; what is done stays. A model that does not "
            "fit into memory, or a load() that ends its process, does that. Ray says: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    except ray.exceptions.RayError as error:
        raise DLAError(f"The sweep stopped on the cluster ({_last_line(error)}). What is done stays there.") from error


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]

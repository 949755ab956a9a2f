"""Autocast, under which a model computes with other numbers than its weights hold."""

import contextlib
from collections.abc import Iterator, Mapping

import torch


def autocast_on() -> Mapping[str, torch.dtype]:
    """The precision that autocast rounds to, for each kind of device for which it is on."""
    accelerator = torch.accelerator.current_accelerator()
    kinds = ["cpu"] if accelerator is None else ["cpu", accelerator.type]
    return {kind: torch.get_autocast_dtype(kind) for kind in kinds if torch.is_autocast_enabled(kind)}


def refuse_autocast(on: Mapping[str, torch.dtype], device: torch.device) -> None:
    """Refuses to run a model whose numbers autocast rounds on the way.

    The logits of such a run are made of numbers that no hook shows, so no parts add up to them but for that rounding.

    Raises:
        ValueError: If autocast is on for the device.
    """
    if device.type in on:
        dtype = str(on[device.type]).removeprefix("torch.")
        raise ValueError(
            f"torch.autocast is on and rounds what the model computes to {dtype} on the way, so that its parts do not "
            "add up. Leave the autocast context; to attribute in half precision, load the model with that dtype."
        )


@contextlib.contextmanager
def without_autocast() -> Iterator[Mapping[str, torch.dtype]]:
    """Computes in the precision of the numbers themselves; gives what autocast was on."""
    on = autocast_on()
    with contextlib.ExitStack() as stack:
        for kind in on:
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield on

"""How many bytes of tensors are alive at once, counted as PyTorch makes and drops them."""

import weakref
from collections.abc import Callable
from typing import Any, final

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from benchmarks.tasks import Task
from dla.engine.forward import SLICE_ELSEWHERE, SLICE_ON_CPU


def peak_of(run: Callable[[], Any]) -> int:
    """The most bytes alive at one time while it runs, beyond what was there before."""
    with LiveTensors() as live:
        run()
    peak: int = live.peak
    return peak


def allowance(task: Task) -> tuple[int, int]:
    """How many bytes an attribution returns, and how many may be alive at any time while it is made.

    Those are what it returns, what the model itself holds before it unembeds, the activations of one block, and
    the logits that are made at a time. No `[component, batch, position, d_model]` stack, no cache of activations, not
    even the logits of all positions fit in.
    """
    result = task.ours()
    returned = (result.values, result.total, result.constant, result.logit, result.output_logit, result.tolerance)
    size = sum(tensor.untyped_storage().nbytes() for tensor in returned)
    logits = SLICE_ON_CPU if result.values.device.type == "cpu" else SLICE_ELSEWHERE
    return size, size + peak_of(task.stream) + peak_of(task.block) + logits


@final
class LiveTensors(TorchDispatchMode):
    """Counts the storage of every tensor that is made inside the context.

    Attributes:
        peak: The most bytes alive at one time, tensors made before not counted.
        largest: The largest single tensor made.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch does not annotate it
        self.peak = self.largest = self._alive = 0
        self._users: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        known = {id(value) for value in tree_iter((args, kwargs)) if isinstance(value, torch.Tensor)}
        for value in tree_iter(result):
            if isinstance(value, torch.Tensor) and id(value) not in known:
                self._watch(value, made_here=not self._is_view_of_old(value, args))
        return result

    def _is_view_of_old(self, value: torch.Tensor, args: Any) -> bool:
        """Whether the tensor shares its storage with an argument that was there before the context."""
        key = value.untyped_storage()._cdata
        if key in self._users:
            return False
        return any(a.untyped_storage()._cdata == key for a in tree_iter(args) if isinstance(a, torch.Tensor))

    def _watch(self, value: torch.Tensor, made_here: bool) -> None:
        if not made_here:
            return
        storage = value.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._users:
            self._alive += size
            self.peak, self.largest = max(self.peak, self._alive), max(self.largest, size)
        self._users[key] = self._users.get(key, 0) + 1
        weakref.finalize(value, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key]
            self._alive -= size

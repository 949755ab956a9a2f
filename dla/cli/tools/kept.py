"""Results that later calls may speak of: the newest few, so that memory is bounded."""

from collections import OrderedDict
from typing import final

import dla
from dla.text import some_of

_NUMBERS = 50_000_000
"""How many numbers all of them hold together at most; the newest is kept whatever its size."""


@final
class KeptResults:
    """Attributions by their ids. The oldest goes when there are too many, or they hold too many numbers."""

    def __init__(self, most: int) -> None:
        """Keeps nothing yet.

        Args:
            most: How many results at most.
        """
        self._most = most
        self._kept: OrderedDict[str, dla.Attribution] = OrderedDict()
        self._made = 0

    def keep(self, result: "dla.Attribution") -> str:
        """Keeps a result; gives its id, which no other result gets."""
        self._made += 1
        self._kept[f"r{self._made}"] = result
        while len(self._kept) > 1 and (len(self._kept) > self._most or self._numbers() > _NUMBERS):
            self._kept.popitem(last=False)
        return f"r{self._made}"

    def __getitem__(self, name: str) -> "dla.Attribution":
        """The result of an id.

        Raises:
            ValueError: If there is none, or none any more.
        """
        if name not in self._kept:
            there = some_of(self._kept, 8) if self._kept else "none"
            raise ValueError(
                f"There is no result {name!r}; there are {there}, since the newest {self._most} are kept. Attribute "
                "again, or use one of these."
            )
        self._kept.move_to_end(name)
        return self._kept[name]

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def _numbers(self) -> int:
        return sum(map(_size, self._kept.values()))


def _size(result: "dla.Attribution") -> int:
    """How many numbers it holds: its rows, and the stream and the logits' columns of the run that it comes from."""
    rerun = result.rerun
    stream = 0 if rerun is None or rerun.stream is None else rerun.stream.numel()
    return result.values.numel() + stream

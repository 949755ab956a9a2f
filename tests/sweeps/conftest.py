"""What the tests of sweeps share."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sweep_subjects import attributor

import dla


@pytest.fixture(scope="session")
def heads() -> dla.Attributor:
    """The demo model by heads."""
    return attributor()


class Processes:
    """Sweeps in processes of their own; each comes to life in a few milliseconds."""

    def __init__(self) -> None:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        script = Path(__file__).with_name("sweep_process.py")
        self._server = subprocess.Popen(
            [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._heard() == {"ready": True}

    def start(self, **order: Any) -> int:
        """Starts a sweep; its process's number."""
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(order, default=str) + "\n")
        self._server.stdin.flush()
        # the process may tell something before its number is told
        self._told: dict[str, Any] = {}
        while "pid" not in (heard := self._heard()):
            self._told |= heard
        return int(heard["pid"])

    def wait(self) -> dict[str, Any]:
        """What the sweep told, and how it ended."""
        while "ended" not in self._told:
            self._told |= self._heard()
        return self._told

    def close(self) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def _heard(self) -> dict[str, Any]:
        assert self._server.stdout is not None
        heard: dict[str, Any] = json.loads(self._server.stdout.readline())
        return heard


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    found = Processes()
    yield found
    found.close()


@pytest.fixture
def failing_writes(monkeypatch) -> Callable[[int], None]:
    """Makes the n-th table that is written stop half-way, as on a full disk."""
    import pyarrow.parquet

    write, written = pyarrow.parquet.write_table, []

    def fail_at(n: int) -> None:
        def half(table: Any, where: Any, **options: Any) -> None:
            written.append(where)
            write(table, where, **options)
            if len(written) == n:
                with open(where, "r+b") as file:
                    file.truncate(50)
                raise OSError(28, "No space left on device")

        written.clear()
        monkeypatch.setattr(pyarrow.parquet, "write_table", half)

    return fail_at

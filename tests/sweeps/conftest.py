"""What the tests of sweeps share."""

from collections.abc import Callable
from typing import Any

import pytest
from sweep_subjects import attributor

import dla


@pytest.fixture(scope="session")
def heads() -> dla.Attributor:
    """The demo model by heads."""
    return attributor()


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

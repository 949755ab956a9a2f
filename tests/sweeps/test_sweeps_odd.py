"""Every argument of a sweep is tried with every odd value, and so is what stands in its rows."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pandas as pd
import pytest
from odd_values import badly_answered

import dla

ROWS = pd.DataFrame({"prompt": ["Tom and Amy found a ring"] * 2, "answer": [" Tom", " Amy"]})
OUT = count()


def sweep(attributor: Any, corpus: Any = ROWS, **options: Any) -> dla.SweepFolder:
    return dla.sweep(corpus, attributor, **{"out": f"out {next(OUT)}", **options})


def of_cells(name: str, value: Any) -> pd.DataFrame:
    rows = ROWS.astype(object)
    rows[name] = pd.Series([value] * 2, dtype=object)  # pandas' own type for texts holds no half characters
    return rows


ASKED: dict[str, Callable[[Any, Any], Any]] = {
    "corpus": sweep,
    "attributor": lambda _, v: sweep(v),
    **{
        name: lambda attributor, v, name=name: sweep(attributor, **{name: v})
        for name in ("out", "limit", "batch_tokens", "window", "prepend_bos", "engine", "progress")
    },
    "open_sweep": lambda _, v: dla.open_sweep(v),
    **{
        f"RayEngine: {name}": lambda _, v, name=name: dla.RayEngine(**{name: v})
        for name in ("actors", "gpus", "cpus", "address", "load")
    },
}


@pytest.mark.parametrize("argument", ASKED)
@pytest.mark.filterwarnings("ignore")
def test_an_odd_value_is_taken_or_told(heads, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert badly_answered(lambda value: ASKED[argument](heads, value)) == {}


@pytest.mark.parametrize("column", ["prompt", "answer", "incorrect", "position"])
@pytest.mark.parametrize(
    "value",
    [{}, {1: 2}, 10**5000, b"x", "\ud800", "a\0b", [None], 1.5],
    ids=lambda v: type(v).__name__ if not isinstance(v, str) or v.isascii() else "half",
)
@pytest.mark.filterwarnings("ignore::dla.SweepWarning", "ignore::dla.PromptWarning")
def test_a_row_that_holds_something_odd_is_rejected_or_asked(heads, column, value, tmp_path):
    done = sweep(heads, of_cells(column, value), out=tmp_path / "out")
    assert done.complete
    assert done.count + len(done.rejected()) == 2

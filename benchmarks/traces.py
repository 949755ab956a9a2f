"""`python -m benchmarks.traces`: what following a number back costs, beside a forward pass and a cache of the run."""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import dla
from benchmarks.memory import peak_of
from benchmarks.models import GPT2_SMALL, TINY, make_bridge

_LIMITS = {"trace": 1.3, "trace back": 3.5, "total effects": 3.5, "graph": 60.0}
"""Times of a plain forward pass that each may take."""


def main() -> None:
    """Prints the figures; an `AssertionError` if one is above its limit or memory above that of a cache."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.traces", description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="a tiny model, without limits of time")
    chosen = parser.parse_args()
    torch.set_num_threads(2)
    model = make_bridge(TINY if chosen.tiny else GPT2_SMALL, "cpu")
    tokens = torch.randint(0, int(model.unembed.W_U.shape[1]), (1, chosen.tokens))
    rows = figures(model, tokens, chosen.rounds)
    shown = Table("", "time / forward", "limit", "MB", "MB of a cache", title="following a number back")
    for name, (ratio, own, cache) in rows.items():
        shown.add_row(name, f"{ratio:.2f}", f"{_LIMITS[name]:.1f}", f"{own / 2**20:.0f}", f"{cache / 2**20:.0f}")
    Console().print(shown)
    for name, (ratio, own, cache) in rows.items():
        assert chosen.tiny or ratio <= _LIMITS[name], f"{name} takes {ratio:.2f} forward passes"
        assert chosen.tiny or name == "graph" or own <= cache, f"{name} holds {own} bytes and a cache {cache}"


def figures(model: Any, tokens: torch.Tensor, rounds: int) -> dict[str, tuple[float, int, int]]:
    """For each question: its time as a multiple of a forward pass, its bytes, and those of a cache of the run."""
    asked = dla.LogitDifference(5, 6)
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(tokens, asked)
    strongest = result.select(kind="head").top(1, by="abs")[0][0]
    runs: dict[str, Callable[[], Any]] = {
        "trace": lambda: result.trace(strongest, by=dla.HeadDecomposer()),
        "trace back": lambda: result.trace_back("tokens"),
        "total effects": lambda: dla.total_effects(result),
        "graph": lambda: dla.graph(result, keep=1.0, most=100),
    }

    def plain() -> Any:
        with torch.no_grad():
            return model(tokens)

    def cached() -> Any:
        with torch.no_grad():
            return model.run_with_cache(tokens)

    cache = peak_of(cached)
    found = {}
    for name, run in runs.items():
        ratios = []
        for _ in range(rounds + 1):
            forward, own = _seconds(plain), _seconds(run)
            ratios.append(own / forward)
        found[name] = statistics.median(ratios[1:]), peak_of(run), cache
    return found


def _seconds(run: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()

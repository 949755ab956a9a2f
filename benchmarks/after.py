"""What questions after an attribution cost (`make bench ARGS="--after"`), beside a forward pass and a cache."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from rich.console import Console
from rich.table import Table

import dla
from benchmarks.memory import peak_of
from benchmarks.models import GPT2_SMALL, TINY, make_bridge


@final
@dataclass(frozen=True)
class Limit:
    """How much a question may cost.

    Attributes:
        time: Times of a plain forward pass.
        memory: Whether it may hold as much as a cache of the run, and not more.
    """

    time: float
    memory: bool = True


LIMITS = {
    "direct effects": Limit(1.3),
    "effects of 10 heads": Limit(12.0),
    "trace": Limit(1.3),
    "trace back": Limit(3.5),
    "total effects": Limit(3.5),
    "graph": Limit(60.0, memory=False),
}


def show_after(rounds: int, tokens: int, tiny: bool) -> None:
    """Prints the figures; an `AssertionError` if one is above its limit or memory above that of a cache.

    Args:
        rounds: How often each is timed.
        tokens: How long the prompt is.
        tiny: Whether to take a tiny model, which has no limits.
    """
    model = make_bridge(TINY if tiny else GPT2_SMALL, "cpu")
    ids = torch.randint(0, int(model.unembed.W_U.shape[1]), (1, tokens))
    rows = figures(model, ids, rounds)
    title = f"questions after an attribution by heads, {tokens} tokens"
    shown = Table("", "time / forward", "limit", "MB", "MB of a cache", title=title)
    for name, (ratio, own, cache) in rows.items():
        shown.add_row(name, f"{ratio:.2f}", f"{LIMITS[name].time:.1f}", f"{own / 2**20:.0f}", f"{cache / 2**20:.0f}")
    Console().print(shown)
    for name, (ratio, own, cache) in rows.items():
        assert tiny or ratio <= LIMITS[name].time, f"{name} takes {ratio:.2f} forward passes"
        assert tiny or not LIMITS[name].memory or own <= cache, f"{name} holds {own} bytes and a cache {cache}"


def figures(model: Any, tokens: torch.Tensor, rounds: int) -> dict[str, tuple[float, int, int]]:
    """For each question: its time as a multiple of a forward pass, its bytes, and those of a cache of the run."""
    asked = dla.LogitDifference(5, 6)
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(tokens, asked)
    heads = [label for label, _ in result.select(kind="head").top(10, by="abs")]
    runs: dict[str, Callable[[], Any]] = {
        "direct effects": result.direct_effects,
        "effects of 10 heads": lambda: result.effects(heads, progress=False),
        "trace": lambda: result.trace(heads[0], by=dla.HeadDecomposer()),
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

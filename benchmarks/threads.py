"""What it costs that calls on one model take turns: `python -m benchmarks.threads`.

One thread attributes with the lock of its model and without; the figure is the median ratio of the times of pairs that
follow each other, and should be 1.00 up to noise. Then several threads share the model: their throughput beside that of
one.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch

import dla
from benchmarks.models import GPT2_SMALL, TINY, make_bridge
from dla.adapters import running, user_hooks
from dla.engine import forward


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for shape in (TINY, GPT2_SMALL):
        attributor = dla.Attributor(make_bridge(shape, "cpu"), dla.HeadDecomposer())
        tokens = torch.arange(16)[None] + 1
        one, ratio = _turns(partial(attributor.attribute, tokens, dla.Logit(7)), options.rounds)
        print(f"{shape.name}: {1e3 * one:.1f} ms a call; with turns / without, in one thread: {ratio:.3f}")
        with ThreadPoolExecutor(options.threads) as pool:
            begin, calls = time.perf_counter(), options.rounds
            for each in [pool.submit(attributor.attribute, tokens, dla.Logit(7)) for _ in range(calls)]:
                each.result()
        rate = calls * one / (time.perf_counter() - begin)
        print(f"{shape.name}: {options.threads} threads on one model: {rate:.2f} times the throughput of one")


def _turns(call: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """The median time of a call, and the median ratio of times with turns and without."""
    call()
    times = []
    for i in range(rounds):
        pair = {}
        for locked in (True, False) if i % 2 else (False, True):
            with nullcontext() if locked else _without_turns():
                begin = time.perf_counter()
                call()
                pair[locked] = time.perf_counter() - begin
        times.append(pair)
    return statistics.median(pair[True] for pair in times), statistics.median(p[True] / p[False] for p in times)


@contextmanager
def _without_turns() -> Iterator[None]:
    """Takes the locks away from what an attribution calls."""
    places: tuple[Any, ...] = (forward, running, user_hooks)
    before = [place.turn_on for place in places]
    for place in places:
        place.turn_on = nullcontext
    try:
        yield
    finally:
        for place, turn_on in zip(places, before, strict=True):
            place.turn_on = turn_on


if __name__ == "__main__":
    main()

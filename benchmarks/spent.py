"""What an attribution's own time is spent on: `python -m benchmarks.spent`.

The activations are taken from a cache, so that the model does not run and what is left is attribution alone. Its
operators' times are shown in percent of a plain forward pass: the matrix products that pull directions back are the
least that is possible, `2 * d_in * d_model` operations for each head, neuron and position.
"""

import argparse
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

import dla
from benchmarks.models import GPT2_SMALL, make_bridge

KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::addmv_", "aten::baddbmm"),
    "elementwise": ("aten::mul", "aten::div_", "aten::add", "aten::sub", "aten::abs", "aten::div"),
    "sums": ("aten::sum", "aten::mean", "aten::linalg_vector_norm"),
    "copies": ("aten::copy_", "aten::cat", "aten::index", "aten::gather", "aten::index_select"),
}

DECOMPOSERS = {
    "heads": dla.HeadDecomposer(),
    "heads and neurons": dla.HeadDecomposer() | dla.NeuronDecomposer(),
}


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(8, 64), help="prompts and tokens")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    model = make_bridge(GPT2_SMALL, "cpu")
    tokens, answers, others = (torch.randint(0, GPT2_SMALL.config["vocab_size"], options.size) for _ in range(3))
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
        forward = _times(lambda: model(tokens), options.rounds)
    shown = Table(title="attribution at all positions, in percent of a plain forward pass")
    for column in ("rows", *KINDS, "everything else", "sum"):
        shown.add_column(column, justify="left" if column == "rows" else "right")
    asked, plain = dla.LogitDifference(answers, others), sum(forward.values())
    for name, decomposer in DECOMPOSERS.items():
        attributor = dla.Attributor(model, decomposer)
        spent = _times(lambda a=attributor: a.attribute(tokens, asked, pos=None, cache=cache), options.rounds)  # type: ignore[misc]
        kinds = {kind: sum(spent.get(op, 0.0) for op in ops) for kind, ops in KINDS.items()}
        total = sum(spent.values())
        shares = [*kinds.values(), total - sum(kinds.values()), total]
        shown.add_row(name, *(f"{100 * share / plain:.1f}" for share in shares))
    Console(width=120).print(shown)


def _times(run: Callable[[], Any], rounds: int) -> dict[str, float]:
    """The median time of each operator in one call, on the processor."""
    run()
    each: list[dict[str, float]] = []
    for _ in range(rounds):
        with profile(activities=[ProfilerActivity.CPU]) as found:
            run()
        each.append({event.key: event.self_cpu_time_total for event in found.key_averages()})
    return {key: statistics.median(one.get(key, 0.0) for one in each) for key in each[0]}


if __name__ == "__main__":
    main()

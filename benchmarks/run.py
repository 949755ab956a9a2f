"""Times attribution beside a plain forward pass: `make bench`, or `make bench DEVICE=cuda`.

Everything runs in one process, interleaved, so that a machine that slows down slows all of it. A figure is the median
over the rounds of the ratio to the plain forward pass of the same model in the same round. Memory is asserted, not only
shown: see `benchmarks.memory.allowance`.
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.after import show_after
from benchmarks.memory import allowance, peak_of
from benchmarks.models import GPT2_SMALL, LLAMA_1B, LLAMA_8B, LONG, TINY, make_bridge
from benchmarks.start import show_start
from benchmarks.sweep import show_sweep
from benchmarks.tasks import UNITS, Task, make_task, make_tasks

Row = dict[str, Any]

# Rounds of what takes long: a model that is made anew for each, a whole sweep.
_FRESH = 3

ON_CPU = ((GPT2_SMALL, ["8x64", "4x256", "1x16"]),)
ON_CUDA = ((GPT2_SMALL, ["16x512"]), (LLAMA_8B, ["16x512"]))


def main() -> None:
    """Parses the arguments, measures, prints the table and writes it beside the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="counted rounds; the first one more is thrown away")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="a tiny model, to try the benchmark itself")
    parser.add_argument("--after", action="store_true", help="effects, traces and graphs after an attribution")
    parser.add_argument("--start", action="store_true", help="what is paid before the first result")
    parser.add_argument("--sweep", action="store_true", help="a sweep beside the forward pass over the same batches")
    parser.add_argument("--large", action="store_true", help="long prompts, many neurons, prompts of unequal lengths")
    parser.add_argument("--sizes", nargs="*", help="prompts x tokens")
    parser.add_argument("--only", default="", help="only tasks whose name contains this")
    parser.add_argument("--attention", default="eager", help="the attn_implementation that the raw bridge is made with")
    parser.add_argument("--markdown", action="store_true", help="print the table of benchmarks/README.md")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    if options.after:
        return show_after(options.rounds, 64, options.tiny)
    if options.start:
        return show_start(min(options.rounds, _FRESH), options.tiny)
    if options.sweep:
        return show_sweep(min(options.rounds, _FRESH))
    rows = [measure(task, options.rounds) for task in (_large(options) if options.large else _tasks(options))]
    print(markdown(rows)) if options.markdown else Console(width=170).print(table(rows))
    if options.json is not None:
        options.json.write_text(json.dumps({**_facts(options.device, options.threads), "rows": rows}, indent=2))


def _tasks(options: argparse.Namespace) -> Iterator[Task]:
    models = ON_CPU if options.device == "cpu" else ON_CUDA
    for shape, sizes in ((TINY, ["2x8"]),) if options.tiny else models:
        raw = make_bridge(shape, options.device, attention=options.attention)
        compatible = make_bridge(shape, options.device, compatibility=True) if shape.rewritable else None
        tasks = make_tasks(shape.name, raw, compatible, list(map(_size, options.sizes or sizes)), options.only)
        yield from track(tasks, shape.name, console=Console(stderr=True))


def _large(options: argparse.Namespace) -> Iterator[Task]:
    """Long prompts, a large model's neurons, and many prompts of unequal lengths, each on its own model."""
    for shape, size, name, pos, unequal in (
        (LONG, (1, 8192), "heads by source", -1, False),
        (LLAMA_1B, (2, 64), "neurons", -1, False),
        (LLAMA_1B, (2, 64), "neurons", None, False),
        (GPT2_SMALL, (64, 128), "heads", -1, True),
        (GPT2_SMALL, (64, 128), "heads", None, True),
    ):
        unit = next(unit for unit in UNITS if unit[0] == name)
        if options.only in name:
            yield make_task(shape.name, make_bridge(shape, options.device), None, size, unit, pos, unequal)


def _size(text: str) -> tuple[int, int]:
    prompts, tokens = text.split("x")
    return int(prompts), int(tokens)


def _facts(device: str, threads: int) -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "torch": torch.__version__,
        "transformer_lens": version("transformer-lens"),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else platform.machine(),
        "threads": threads,
    }


def measure(task: Task, rounds: int) -> Row:
    """Ratios of time to the plain forward pass, and bytes alive beyond it.

    Raises:
        AssertionError: If more was alive at one time than the result and what `allowance` names.
    """
    runs: dict[str, Callable[[], Any]] = {"plain": task.plain, "ours": task.ours, "theirs_plain": task.theirs_plain}
    runs |= {name: run for name, run in (("unsampled", task.unsampled), ("theirs", task.theirs)) if run is not None}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            seconds[name].append(_seconds(run))
    peaks = {name: peak_of(run) for name, run in runs.items()}
    result, allowed = allowance(task)
    assert peaks["ours"] <= allowed, f"{task.name} {task.shape}: {peaks['ours']} bytes alive, allowed {allowed}"
    row: Row = {"model": task.model, "task": task.name, "shape": f"{task.shape[0]} × {task.shape[1]}"}
    row |= {"forward_ms": 1e3 * statistics.median(seconds["plain"][1:]), "result_bytes": result}
    for name, beside in (("ours", "plain"), ("unsampled", "plain"), ("theirs", "theirs_plain")):
        if name in runs:
            row[name] = statistics.median(a / b for a, b in zip(seconds[name][1:], seconds[beside][1:], strict=True))
            row[f"{name}_bytes"] = peaks[name] - peaks[beside]
    return row


COLUMNS = (
    "model",
    "task",
    "prompts × tokens",
    "forward ms",
    "dla",
    'unembed="all"',
    "TransformerLens",
    "result MB",
    "dla MB",
    "theirs MB",
)


def table(rows: list[Row]) -> Table:
    """The figures, for people."""
    shown = Table(title="time as a multiple of a plain forward pass; memory beyond it")
    for i, column in enumerate(COLUMNS):
        shown.add_column(column, justify="left" if i < 2 else "right", no_wrap=i < 2)
    for row in rows:
        shown.add_row(*_cells(row))
    return shown


def markdown(rows: list[Row]) -> str:
    """The figures, for `benchmarks/README.md`."""
    lines = [COLUMNS, ("---", "---", *["---:"] * (len(COLUMNS) - 2)), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    theirs = (f"{row['theirs']:.2f}", _megabytes(row["theirs_bytes"])) if "theirs" in row else ("-", "-")
    unsampled = f"{row['unsampled']:.2f}" if "unsampled" in row else "-"
    times = (f"{row['forward_ms']:.0f}", f"{row['ours']:.2f}", unsampled, theirs[0])
    memory = (_megabytes(row["result_bytes"]), _megabytes(row["ours_bytes"]), theirs[1])
    return (row["model"], row["task"], row["shape"], *times, *memory)


def _megabytes(count: int) -> str:
    return f"{count / 2**20:.0f}"


def _seconds(run: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()

"""Times attribution beside a plain forward pass: `make bench`.

Everything runs in one process, interleaved, so that a machine that slows down slows all of it. A figure is the median
over the rounds of the ratio to the plain forward pass of the same model in the same round.
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.memory import LiveTensors
from benchmarks.tasks import GPT2_SMALL, TINY, Task, make_bridge, make_tasks

Row = dict[str, Any]


def main() -> None:
    """Parses the arguments, measures, prints the table and writes it beside the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="counted rounds; the first one more is thrown away")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true", help="a tiny model, to try the benchmark itself")
    parser.add_argument("--sizes", nargs="*", default=["8x64", "4x256", "1x16"], help="prompts x tokens")
    parser.add_argument("--only", default="", help="only tasks whose name contains this")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    shape = TINY if options.tiny else GPT2_SMALL
    sizes = [(2, 8)] if options.tiny else [_size(text) for text in options.sizes]
    raw = make_bridge(shape, options.device)
    compatible = make_bridge(shape, options.device, compatibility=True)
    rows = [
        measure(task, options.rounds)
        for task in track(make_tasks(raw, compatible, sizes), console=Console(stderr=True))
        if options.only in task.name
    ]
    Console().print(table(rows))
    if options.json is not None:
        facts = {
            "torch": torch.__version__,
            "transformer_lens": version("transformer-lens"),
            "threads": options.threads,
        }
        options.json.write_text(json.dumps({**facts, "machine": platform.machine(), "rows": rows}, indent=2))


def _size(text: str) -> tuple[int, int]:
    prompts, tokens = text.split("x")
    return int(prompts), int(tokens)


def measure(task: Task, rounds: int) -> Row:
    """Ratios of time to the plain forward pass, and bytes alive beyond it."""
    runs: dict[str, Callable[[], Any]] = {"plain": task.plain, "ours": task.ours, "theirs_plain": task.theirs_plain}
    if task.theirs is not None:
        runs["theirs"] = task.theirs
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            seconds[name].append(_seconds(run))
    peaks = {name: _peak(run) for name, run in runs.items()}
    row: Row = {"task": task.name, "shape": f"{task.shape[0]} × {task.shape[1]}"}
    row["forward_ms"] = 1e3 * statistics.median(seconds["plain"][1:])
    for name, beside in (("ours", "plain"), ("theirs", "theirs_plain")):
        if name in runs:
            row[name] = statistics.median(a / b for a, b in zip(seconds[name][1:], seconds[beside][1:], strict=True))
            row[f"{name}_bytes"] = max(0, peaks[name] - peaks[beside])
    return row


def table(rows: list[Row]) -> Table:
    """The figures, for people."""
    shown = Table(title="time as a multiple of a plain forward pass; memory beyond it")
    for column in ("task", "prompts × tokens", "forward", "dla", "TransformerLens", "dla MB", "TransformerLens MB"):
        shown.add_column(column, justify="left" if column == "task" else "right")
    for row in rows:
        theirs = (f"{row['theirs']:.2f}", f"{row['theirs_bytes'] / 2**20:.0f}") if "theirs" in row else ("-", "-")
        shown.add_row(
            row["task"],
            row["shape"],
            f"{row['forward_ms']:.0f} ms",
            f"{row['ours']:.2f}",
            theirs[0],
            f"{row['ours_bytes'] / 2**20:.1f}",
            theirs[1],
        )
    return shown


def _seconds(run: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def _peak(run: Callable[[], Any]) -> int:
    with LiveTensors() as live:
        run()
    peak: int = live.peak
    return peak


if __name__ == "__main__":
    main()

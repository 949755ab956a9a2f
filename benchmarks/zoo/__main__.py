"""`python -m benchmarks.zoo` examines every architecture on the installed line; `... render` writes the page."""

import argparse
import json
import logging
import sys
import time
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from benchmarks.zoo.examine import Cell, examine
from benchmarks.zoo.render import render
from benchmarks.zoo.subjects import LINE, subjects

RESULTS = Path("build/zoo")
PAGE = Path("docs/architectures.md")


def main() -> int:
    """Runs one line, or renders both.

    Returns:
        The exit status: 1 if anything is wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    parser.add_argument("what", nargs="?", choices=("run", "render"), default="run")
    parser.add_argument("--only", nargs="*", default=[], help="architectures whose names hold one of these words")
    chosen = parser.parse_args()
    return _render() if chosen.what == "render" else _run(chosen.only)


def _render() -> int:
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render([json.loads(path.read_text()) for path in sorted(RESULTS.glob("tl*.json"))]))
    print(f"wrote {PAGE}")
    return 0


def _run(only: list[str]) -> int:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    start = time.monotonic()
    console = Console(stderr=True)
    chosen = track(list(subjects(only)), f"TransformerLens {LINE}", console=console)
    cells = [cell for subject in chosen for cell in examine(subject)]
    if only:
        _print(cells)
    else:
        _save(cells)
    print(f"{dict(Counter(cell.verdict for cell in cells))} in {time.monotonic() - start:.0f} s")
    wrong = [cell for cell in cells if not cell.good]
    for cell in wrong:
        print(f"{cell.verdict}: {cell.name}, {cell.mode}, {cell.unit}: {cell.reason}", file=sys.stderr)
    return int(bool(wrong))


def _save(cells: list[Cell]) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    versions = {name: version(name) for name in ("dla", "transformer-lens", "transformers", "torch")}
    content = {"line": LINE, "versions": versions, "cells": [cell.to_dict() for cell in cells]}
    (RESULTS / f"tl{LINE}.json").write_text(json.dumps(content, indent=1))


def _print(cells: list[Cell]) -> None:
    for cell in cells:
        gap = "" if cell.gap is None else f"{cell.gap:.0e}"
        warned = "warned" if cell.warned else ""
        print(f"{cell.name:32} {cell.mode:14} {cell.unit:10} {cell.verdict:8} {gap:6} {warned:7} {cell.reason}")


if __name__ == "__main__":
    raise SystemExit(main())

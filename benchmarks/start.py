"""What is paid before the first result: `make bench ARGS="--start"`.

Commands are timed in processes of their own. An `Attributor` is timed beside a plain forward pass of the few tokens on
which a model is recognised, the two interleaved, each on a model that was just made: a second attributor on the same
model costs nothing. That no weight is copied whole is asserted, not only shown.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import torch
from rich.console import Console
from rich.table import Table
from transformer_lens.model_bridge import TransformerBridge

import dla
from benchmarks.memory import peak_of
from benchmarks.models import GPT2_SMALL, LLAMA_1B, TINY, Shape, make_bridge
from dla.adapters.recognise.recording import tokens_to_record

COMMANDS: tuple[tuple[str, Sequence[str]], ...] = (
    ("python -c 'import torch'", ("-c", "import torch")),
    ("python -c 'import dla'", ("-c", "import dla")),
    ("python -c 'import torch, dla'", ("-c", "import torch, dla")),
    ("dla --help", ("-m", "dla", "--help")),
    ("dla attribute --help", ("-m", "dla", "attribute", "--help")),
    ("dla attribute --wrong", ("-m", "dla", "attribute", "--wrong")),
)


def show_start(rounds: int, tiny: bool) -> None:
    """Measures and prints both tables.

    Args:
        rounds: Of which the median is shown.
        tiny: Whether to take one tiny model, to try the benchmark itself.
    """
    console = Console(width=120)
    commands = Table("command", "CPU seconds", title="start-up")
    for name, arguments in COMMANDS:
        commands.add_row(name, f"{statistics.median(_cpu_seconds_of(arguments) for _ in range(rounds)):.2f}")
    console.print(commands)
    models = Table(
        "model", "forward s", "Attributor / forward", "second s", "largest weight MB", "extra MB", title="first result"
    )
    for shape in (TINY,) if tiny else (GPT2_SMALL, LLAMA_1B):
        models.add_row(shape.name, *_first_attributor(shape, rounds))
    console.print(models)


def _cpu_seconds_of(arguments: Sequence[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], env={**os.environ}, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _first_attributor(shape: Shape, rounds: int) -> tuple[str, ...]:
    """Seconds and ratios of CPU time; memory beyond the forward pass, and the largest weight."""
    forwards, ratios, seconds = [], [], []
    model = make_bridge(shape, "cpu")
    tokens = tokens_to_record(int(model.cfg.d_vocab), None)
    dla.Attributor(make_bridge(TINY, "cpu"), dla.HeadDecomposer())  # what is imported on the first use
    for _ in range(rounds):
        model = make_bridge(shape, "cpu")
        _run(model, tokens)
        forwards.append(statistics.median(_seconds(lambda m=model: _run(m, tokens)) for _ in range(3)))  # type: ignore[misc]
        ratios.append(_seconds(lambda m=model: _make(m)) / forwards[-1])  # type: ignore[misc]
        seconds.append(_seconds(lambda m=model: _make(m)))  # type: ignore[misc]
    largest = max(weight.untyped_storage().nbytes() for weight in model.parameters())
    # What hooks and modules show is kept, as in a cache: inputs and outputs of modules, mostly twice.
    plain, seen = peak_of(lambda: _run(model, tokens)), 2 * peak_of(lambda: model.run_with_cache(tokens))
    model = make_bridge(shape, "cpu")
    extra = peak_of(lambda: _make(model)) - plain
    assert extra <= largest + seen, f"{shape.name}: {extra} bytes beyond a forward pass, allowed {largest + seen}"
    times = (statistics.median(forwards), statistics.median(ratios), statistics.median(seconds))
    return (*(f"{each:.2f}" for each in times), f"{largest / 2**20:.0f}", f"{extra / 2**20:.0f}")


def _make(model: TransformerBridge) -> dla.Attributor:
    return dla.Attributor(model, dla.HeadDecomposer())


def _run(model: TransformerBridge, tokens: torch.Tensor) -> None:
    with torch.no_grad():
        model(tokens)


def _seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin

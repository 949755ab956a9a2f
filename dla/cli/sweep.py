"""`dla sweep`: every row of a corpus on a model that the user names."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from dla.adapters.loading import load_model
from dla.attributor import Attributor
from dla.cli.command import ModelName, PrependBos
from dla.cli.quiet import loading
from dla.decomposers import (
    BlockDecomposer,
    ComponentDecomposer,
    Decomposer,
    HeadDecomposer,
    LayerDecomposer,
    NeuronDecomposer,
)
from dla.errors import DLAError, SweepWarning
from dla.sweeps import Engine, LocalEngine, RayEngine, sweep

SplitName = Literal["component", "layer", "head", "neuron", "block"]
SPLITS: Mapping[SplitName, Callable[[], Decomposer]] = {
    "component": ComponentDecomposer,
    "layer": LayerDecomposer,
    "head": HeadDecomposer,
    "neuron": NeuronDecomposer,
    "block": BlockDecomposer,
}


def sweep_command(
    corpus: Annotated[
        str,
        typer.Argument(
            metavar="CORPUS",
            help="A .jsonl, .csv or .parquet file, or a folder of them: columns prompt, answer, incorrect.",
        ),
    ],
    model: ModelName,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write; a sweep that was stopped is resumed.")],
    decompose: Annotated[
        SplitName,
        typer.Option(help="The parts: sublayers, the stream as it grows, heads, neurons, or each block as a whole."),
    ] = "component",
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where to compute: in this process, or on a Ray cluster.")
    ] = "local",
    actors: Annotated[int, typer.Option(min=1, metavar="N", help="With --engine ray: how many hold the model.")] = 2,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Take only the first N rows.")] = None,
    batch_tokens: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many tokens run together at most, padding included.")
    ] = 8192,
    prepend_bos: PrependBos = None,
) -> None:
    """Attribute every row of a corpus, and keep what was found. After a stop, the same command resumes."""
    if not Path(corpus).exists():
        raise ValueError(f"There is no file or folder {corpus!r} to read a corpus from.")
    with loading(f"loading {model}"):
        attributor = Attributor(load_model(model), SPLITS[decompose]())
    place = LocalEngine() if engine == "local" else _ray_engine(model, actors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SweepWarning)  # the same is printed below
        done = sweep(
            corpus, attributor, out, limit=limit, batch_tokens=batch_tokens, prepend_bos=prepend_bos, engine=place
        )
    if not done.count:
        raise DLAError(f"{out}: {' '.join(done.notes())}")
    Console(soft_wrap=True).print(str(done), highlight=False, markup=False)


def _ray_engine(model: str, actors: int) -> Engine:
    # actors run in folders of their own, where a relative path leads elsewhere
    return RayEngine(actors, load=partial(load_model, str(Path(model).absolute()) if Path(model).exists() else model))

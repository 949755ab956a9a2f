"""`dla sweep`: every row of a corpus on a model that the user names."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from dla.adapters.loading import load_model
from dla.attributor import Attributor
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

SPLITS: Mapping[str, Callable[[], Decomposer]] = {
    "component": ComponentDecomposer,
    "layer": LayerDecomposer,
    "head": HeadDecomposer,
    "neuron": NeuronDecomposer,
    "block": BlockDecomposer,
}


def run_sweep(
    corpus: str,
    model: str,
    out: Path,
    split: str,
    actors: int | None,
    limit: int | None,
    batch_tokens: int,
    prepend_bos: bool | None,
) -> None:
    """Loads the model, sweeps, and prints what the folder holds and which rows were rejected.

    Args:
        corpus: A file or folder.
        model: A folder, or the name of a hub model.
        out: The folder to write.
        split: One of `SPLITS`.
        actors: How many actors of a Ray cluster; None for this process.
        limit: How many rows to take; None for all.
        batch_tokens: How many tokens run together at most.
        prepend_bos: Whether to put the BOS token in front; None as the model does by default.

    Raises:
        ValueError: If an argument does not fit the others, the model or the file system.
        DLAError: If the model cannot be loaded or attributed, a package is missing, or no row was kept.
    """
    if not Path(corpus).exists():
        raise ValueError(f"There is no file or folder {corpus!r} to read a corpus from.")
    with loading(f"loading {model}"):
        attributor = Attributor(load_model(model), SPLITS[split]())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SweepWarning)  # the same is printed below
        engine = _engine(model, actors)
        done = sweep(
            corpus, attributor, out, limit=limit, batch_tokens=batch_tokens, prepend_bos=prepend_bos, engine=engine
        )
    if not done.count:
        raise DLAError(f"{out}: {' '.join(done.notes())}")
    Console(soft_wrap=True).print(str(done), highlight=False, markup=False)


def _engine(model: str, actors: int | None) -> Engine:
    if actors is None:
        return LocalEngine()
    # the actors run in folders of their own
    return RayEngine(actors, load=partial(load_model, str(Path(model).absolute()) if Path(model).exists() else model))

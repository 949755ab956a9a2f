"""The sweep."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dla.attributor import Attributor
from dla.errors import DLAError
from dla.sweeps.corpora import open_corpus
from dla.sweeps.engines import Engine, Job, LocalEngine, RayEngine
from dla.sweeps.fixed import FixedPlan
from dla.sweeps.folder import SweepFolder, open_sweep
from dla.sweeps.lock import locked
from dla.sweeps.manifest import agreed, new_manifest, write_manifest
from dla.sweeps.parquet import arrow
from dla.sweeps.progress import Bar, shown
from dla.sweeps.settings import Settings
from dla.sweeps.shards import gather_rejections, remove_pieces, remove_unfinished

ENGINES: Mapping[str, Callable[[], Engine]] = {"local": LocalEngine, "ray": RayEngine}
"""Engines by name, as they are if nothing else is said."""


def sweep(
    corpus: Any,
    attributor: Attributor,
    out: str | Path,
    *,
    limit: int | None = None,
    batch_tokens: int = 8192,
    window: int = 1024,
    prepend_bos: bool | None = None,
    engine: Engine | str = "local",
    progress: bool | None = None,
) -> SweepFolder:
    """Attributes every row of a corpus, and keeps what was found in a folder of Parquet files.

    A row has a `prompt`, an `answer`, and perhaps `incorrect` and `position`. Asked is the logit of the answer, minus
    that of `incorrect` where there is one, at `position` (the last token, where there is none). Tokens are texts or
    ids. A row that cannot be asked goes to `rejected.parquet` with the reason, and does not stop the sweep.

    Whatever stops a sweep (Ctrl-C, a full disk, a killed process) costs the batch under way. The same call goes on
    where it stopped; on a folder that is complete it returns at once. A call with another model, corpus or setting is
    refused.

    Args:
        corpus: A pandas DataFrame, a Hugging Face `datasets.Dataset`, or the path of a `.jsonl`, `.csv` or `.parquet`
            file, of a folder of such files, or a list of files.
        attributor: The model, and how it is split. The parts must be the same for every prompt.
        out: The folder to write.
        limit: Take only so many rows. A sweep with another limit needs another folder.
        batch_tokens: How many tokens run together at most, padding included. Where memory runs out a batch is run in
            halves, and later ones too until some went well.
        window: How many rows are read, and sorted by length, at a time.
        prepend_bos: Whether to put the BOS token before a prompt; None does as the model does by default.
        engine: Where the work is done: "local", in this process, or an engine such as `RayEngine`.
        progress: Whether to show a bar on stderr; None shows it on a terminal.

    Returns:
        The folder, open to be read.

    Raises:
        ValueError: If the corpus lacks a column, the parts depend on the prompts, or the folder holds something else.
        DLAError: If another process sweeps into the folder.
        OSError: If a file cannot be written. What is there stays whole.
        MissingPackageError: If an optional package is missing; names the extra.
    """
    arrow()
    settings = Settings(limit, batch_tokens, window, prepend_bos, attributor.check)
    chosen = _engine(engine)
    plan, rows, folder = FixedPlan(attributor), open_corpus(corpus, window), Path(out)
    new = new_manifest(attributor, plan, rows, settings)
    _make(folder)
    with locked(folder):
        manifest = agreed(folder, new)
        remove_unfinished(folder)
        if not manifest["complete"]:
            job = Job(rows, attributor, plan, settings, folder.absolute(), new["model"]["weights"])
            _run(job, chosen, manifest, progress)
        remove_pieces(folder)
    return open_sweep(folder)


def _run(job: Job, engine: Engine, manifest: dict[str, Any], progress: bool | None) -> None:
    with shown(job.settings.rows(job.corpus.size), progress) as bar, _counted(job.folder, manifest, bar):
        for receipt in engine.receipts(job):
            bar.advance(receipt)
    remove_unfinished(job.folder)  # an actor that died left some, though its shards are there
    gather_rejections(job.folder, manifest["columns"])
    write_manifest(job.folder, {**manifest, "complete": True})


@contextmanager
def _counted(folder: Path, manifest: dict[str, Any], bar: Bar) -> Iterator[None]:
    """Notes how far the sweep came and how long it took, and says how to go on where it was stopped."""
    before, start = manifest["counts"]["seconds"], time.perf_counter()
    try:
        yield
    except (KeyboardInterrupt, OSError, DLAError) as error:
        error.add_note(f"{bar.prompts + bar.rejected} rows are done and stay; the same call goes on from there.")
        raise
    finally:
        seconds = before + time.perf_counter() - start
        manifest["counts"] = {"prompts": bar.prompts, "rejected": bar.rejected, "seconds": round(seconds, 3)}
        _noted(folder, manifest)


def _noted(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes the counts if it can: on a full disk they are not what matters."""
    try:
        write_manifest(folder, manifest)
    except OSError:
        return


def _engine(engine: Engine | str) -> Engine:
    if isinstance(engine, Engine):
        return engine
    if engine not in ENGINES:
        raise ValueError(f"engine={engine!r}; pass one of {list(ENGINES)}, or an engine such as RayEngine(actors=2).")
    return ENGINES[engine]()


def _make(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is a file. Pass the name of a folder to write.")
    folder.mkdir(parents=True, exist_ok=True)

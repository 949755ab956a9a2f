"""The sweep: from a corpus and an attributor to a folder that is complete."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dla.attributor import Attributor
from dla.directions import Continuation, Direction, TopTokens
from dla.errors import DLAError, FileFormatError, SweepWarning, warn_caller
from dla.inputs.arguments import file_path, flag, instance
from dla.inputs.columns import Column
from dla.inputs.given import shown
from dla.sweeps.batches import BatchSettings
from dla.sweeps.corpora import open_corpus
from dla.sweeps.engines import Engine, LocalEngine, RayEngine, SweepJob
from dla.sweeps.folder import SweepFolder, open_sweep
from dla.sweeps.identity import identity, samples
from dla.sweeps.layout import PARTS, PIECES, PROMPTS, REJECTED, RESULTS
from dla.sweeps.manifest import agreed, locked, new_manifest, write_manifest
from dla.sweeps.parquet import arrow, checksums_of
from dla.sweeps.progress import progress_bar
from dla.sweeps.question import SweepQuestion, needed_columns, read_direction
from dla.sweeps.rejections import gather_rejections, reasons_of
from dla.sweeps.static_plan import StaticPlan
from dla.text import as_text
from dla.views.files import is_unfinished

if TYPE_CHECKING:
    Asked = Direction | Continuation | TopTokens | Column | str | int | None
else:  # `read_direction` looks at what is passed, and says in a sentence what is wrong with it
    Asked = object

ENGINES: Mapping[str, Callable[[], Engine]] = {"local": LocalEngine, "ray": RayEngine}
"""Engines by name, as they are if nothing else is said."""


def sweep(
    corpus: Any,
    attributor: Attributor,
    out: str | Path,
    *,
    direction: Asked = None,
    limit: int | None = None,
    batch_tokens: int = 8192,
    window: int = 1024,
    prepend_bos: bool | None = None,
    engine: Engine | str = "local",
    progress: bool | None = None,
) -> SweepFolder:
    """Attributes every row of a corpus, and keeps what was found in a folder of Parquet files.

    A row has a `prompt`, and the columns that the question names. Without `direction` these are an `answer` and perhaps
    `incorrect`: the logit of the answer, minus that of `incorrect`, where any row has one (a row that has none is
    rejected then). It is asked at the row's `position`, or at the last token where there is none. Tokens are texts or
    ids. A rejected row is in `rejected.parquet` with the reason, and does not stop the sweep; a warning says how many
    there are, and why.

    Whatever stops a sweep (Ctrl-C, a full disk, a killed process) costs the batch under way. The same call resumes it;
    on a folder that is complete it returns at once. A call with another corpus or setting is refused, and one whose
    model has other weights, hooks or settings: the folder holds what the model computes for some prompts, and every
    call compares it. It compares the checksums of all files too.

    Args:
        corpus: A pandas DataFrame, a Hugging Face `datasets.Dataset`, or the path of a `.jsonl`, `.csv` or `.parquet`
            file, of a folder of such files, or a list of files.
        attributor: The model, and how it is split. The parts must be the same for every prompt, so of sources there are
            spans: `SourceDecomposer(spans=["subject"])` looks for the text (or the positions) in that column of a row.
        out: The folder to write.
        direction: What to ask of every row: any direction, in which `dla.Column("answer")` stands for the token of each
            row, such as `dla.LogProbability(dla.Column("answer"))`; a `Continuation` of columns, whose rows are summed
            over the answer's tokens; or `TopTokens(1)`. With another question a folder is not resumed.
        limit: Take only so many rows. A sweep with another limit needs another folder.
        batch_tokens: How many tokens run together at most, padding included. Where memory runs out a batch is run in
            halves, and later ones too until some fitted.
        window: How many rows are read, and sorted by length, at a time.
        prepend_bos: Whether to put the BOS token before a prompt; None does as the model does by default.
        engine: Where the model runs: "local", in this process, or an engine such as `RayEngine`.
        progress: Whether to show a bar on stderr; None shows it on a terminal.

    Returns:
        The folder, open to be read.

    Raises:
        ValueError: If the corpus lacks a column, the parts depend on the prompts, or the folder holds something else.
        TypeError: If an argument is of another type.
        FileFormatError: If a file of the folder was damaged, or is missing.
        DLAError: If another process sweeps into the folder, or the corpus changes while it is read.
        OSError: If a file cannot be written. What is there stays whole.
        MissingPackageError: If an optional package is missing; names the extra.
    """
    arrow()
    such_as = "an Attributor of a model and a decomposer: Attributor(model, HeadDecomposer())"
    instance(attributor, Attributor, "The attributor", such_as)
    flag(progress, "progress", "on a terminal only")
    folder = file_path(out, "the folder to write")
    settings, chosen = BatchSettings.of(limit, batch_tokens, window, prepend_bos, attributor.check), _engine(engine)
    asked_for, decomposer = read_direction(direction), attributor.decomposer
    rows = open_corpus(corpus, needed_columns(asked_for, decomposer))
    plan = StaticPlan(attributor, SweepQuestion.of(asked_for, rows.compares, decomposer))
    asked = samples(plan, rows, settings)
    new = new_manifest(attributor, plan, rows, settings, identity(plan, asked))
    _make(folder)
    agreed(folder, new)  # without a lock: a folder that is refused stays as it was
    with locked(folder):
        manifest = agreed(folder, new) or _begun(folder, new)
        open_sweep(folder).check()
        _remove_unfinished(folder)
        if not manifest["complete"]:
            _run(
                SweepJob(rows, attributor, plan, settings, folder.absolute(), new["model"], asked),
                chosen,
                manifest,
                progress,
            )
        for kind in (PIECES, RESULTS):  # the manifest and `rejected.parquet` have what they hold
            shutil.rmtree(folder / kind, ignore_errors=True)
    done = open_sweep(folder)
    if done.notes():
        warn_caller("\n  ".join([f"{as_text(str(folder))}:", *done.notes()]), SweepWarning)
    return done


def _run(job: SweepJob, engine: Engine, manifest: dict[str, Any], progress: bool | None) -> None:
    """Does what is missing, and completes the manifest."""
    before, start = manifest["counts"]["seconds"], time.perf_counter()
    counts = Counter(prompts=0, rejected=0, unknown=0)
    try:
        with progress_bar(job.settings.rows(job.corpus.size), progress) as move:
            for result in engine.results(job):
                counts.update(prompts=result.prompts, rejected=result.rejected, unknown=result.unknown)
                move(counts["prompts"], counts["rejected"])
    except (KeyboardInterrupt, OSError, DLAError) as error:
        done = counts["prompts"] + counts["rejected"]
        error.add_note(f"{done} rows are done and stay; the same call resumes from there.")
        raise
    finally:
        manifest["counts"] = {**counts, "seconds": round(before + time.perf_counter() - start, 3)}
        with suppress(OSError):  # on a full disk the counts are not what matters
            write_manifest(job.folder, manifest)
    _remove_unfinished(job.folder)  # an actor that died left some, though its shards are there
    _complete(job, manifest)


def _complete(job: SweepJob, manifest: Mapping[str, Any]) -> None:
    """Writes the last manifest, if what it says is what lies there, and the corpus is still what it says."""
    job.corpus.check()
    there = open_sweep(job.folder)
    results, rows = there.results(), job.settings.rows(job.corpus.size)
    found = sum(result.prompts + result.rejected for result in results)
    if found != rows:
        raise FileFormatError(
            f"The shards in {str(job.folder)!r} hold {found} of the corpus' {rows} rows, done or rejected: files were "
            "lost or added while the sweep ran, or the engine left rows out. The same call does what is missing."
        )
    there.check()
    gather_rejections(job.folder, there.columns, [file for each in results for file in each.files_of(PIECES).items()])
    totals = {name: sum(getattr(each, name) for each in results) for name in ("prompts", "rejected", "unknown")}
    last = {
        "complete": True,
        "counts": {**manifest["counts"], **totals},
        "reasons": [asdict(reason) for reason in reasons_of(there.rejected())],
        "shards": [asdict(replace(each, files=each.files_of(PROMPTS, PARTS))) for each in results],
        "files": checksums_of(job.folder, [job.folder / REJECTED]),
    }
    write_manifest(job.folder, {**manifest, **last})


def _begun(folder: Path, new: dict[str, Any]) -> dict[str, Any]:
    write_manifest(folder, new)
    return new


def _remove_unfinished(folder: Path) -> None:
    """Removes what a process that was killed left half written."""
    for place in (folder, *(folder / kind for kind in (PROMPTS, PARTS, PIECES, RESULTS))):
        for file in filter(is_unfinished, place.glob(".*")):
            file.unlink(missing_ok=True)


def _engine(engine: Any) -> Engine:
    if isinstance(engine, Engine):
        return engine
    if not isinstance(engine, str) or engine not in ENGINES:
        raise ValueError(
            f"engine={shown(engine)}; pass one of {list(ENGINES)}, or an engine such as RayEngine(actors=2)."
        )
    return ENGINES[engine]()


def _make(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{str(folder)!r} is a file. Pass the name of a folder to write.")
    folder.mkdir(parents=True, exist_ok=True)

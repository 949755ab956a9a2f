"""From what a user has to a corpus."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dla.sweeps.corpora.base import Corpus
from dla.sweeps.corpora.csv_rows import CsvRows
from dla.sweeps.corpora.json_lines import JsonLines
from dla.sweeps.corpora.tables import DatasetCorpus, FrameCorpus, ParquetCorpus
from dla.sweeps.corpora.text import TextCorpus


def _json_lines(files: Sequence[Path], every: int) -> Corpus:
    return TextCorpus(files, JsonLines(), every)


def _csv(files: Sequence[Path], every: int) -> Corpus:
    return TextCorpus(files, CsvRows(), every)


def _parquet(files: Sequence[Path], every: int) -> Corpus:
    return ParquetCorpus(files)


_READERS: dict[str, Callable[[Sequence[Path], int], Corpus]] = {
    ".jsonl": _json_lines,
    ".json": _json_lines,
    ".csv": _csv,
    ".parquet": _parquet,
}


def open_corpus(source: Any, every: int) -> Corpus:
    """The corpus of a data frame, a dataset, a file, a folder of files, or a list of files.

    Args:
        source: What the user passed.
        every: How many rows are read at a time.

    Raises:
        ValueError: If there is no such file, a folder holds files of several kinds or of none, or columns are missing.
        TypeError: If it is none of these.
    """
    if isinstance(source, pd.DataFrame):
        return FrameCorpus(source)
    if isinstance(source, str | Path):
        return _of_files(_files(Path(source)), every)
    datasets = sys.modules.get("datasets")  # whoever has a dataset has imported it
    if datasets is not None and isinstance(source, datasets.Dataset):
        return DatasetCorpus(source)
    if isinstance(source, list | tuple) and source and all(isinstance(item, str | Path) for item in source):
        return _of_files([file for item in source for file in _files(Path(item))], every)
    raise TypeError(
        f"A corpus cannot be a {type(source).__name__}. Pass a pandas DataFrame, a datasets.Dataset (one split, not "
        "streamed: a sweep that goes on reads it again), or the path of a .jsonl, .csv or .parquet file or a folder."
    )


def _of_files(files: Sequence[Path], every: int) -> Corpus:
    endings = sorted({file.suffix.lower() for file in files})
    readers = {_READERS[ending] for ending in endings if ending in _READERS}
    unknown = [file for file in files if file.suffix.lower() not in _READERS]
    if unknown:
        raise ValueError(f"{str(unknown[0])!r} is no corpus: its name must end in {', '.join(_READERS)}.")
    if len(readers) > 1:
        raise ValueError(f"A corpus is of one kind of file, and these end in {', '.join(endings)}. Pass one kind.")
    return readers.pop()(files, every)


def _files(path: Path) -> list[Path]:
    """The file, or those of a folder in the order of their names; the folder's other files are left aside."""
    if path.is_file():
        return [path.absolute()]
    if not path.is_dir():
        raise ValueError(f"There is no file or folder {str(path)!r} to read a corpus from.")
    files = [
        file
        for file in sorted(path.absolute().iterdir())
        if file.suffix.lower() in _READERS and file.name[0] not in "._"
    ]
    if not files:
        raise ValueError(f"The folder {str(path)!r} holds no file whose name ends in {', '.join(_READERS)}.")
    return [file for file in files if file.is_file()]

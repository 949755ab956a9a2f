"""From what a user has to a corpus."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dla.inputs.arguments import file_path
from dla.sweeps.corpora.base import RowReader
from dla.sweeps.corpora.corpus import NEEDED, Corpus
from dla.sweeps.corpora.tables import read_frame, read_hugging_face, read_parquet
from dla.sweeps.corpora.text_files import CsvReader, JsonReader
from dla.text import as_text

_READERS: dict[str, Callable[[Sequence[Path]], RowReader]] = {
    ".jsonl": JsonReader,
    ".json": JsonReader,
    ".csv": CsvReader,
    ".parquet": read_parquet,
}


def open_corpus(source: Any, needed: Sequence[str] = NEEDED) -> Corpus:
    """The corpus of a data frame, a dataset, a file, a folder of files, or a list of files.

    Args:
        source: One of these.
        needed: The columns that it must have.

    Raises:
        ValueError: If there is no such file, a folder holds files of several kinds or of none, or columns are missing.
        TypeError: If it is none of these.
    """
    if isinstance(source, pd.DataFrame):
        return Corpus(read_frame(source), "The data frame", needed=needed)
    datasets = sys.modules.get("datasets")  # whoever has a dataset has imported it
    if datasets is not None and isinstance(source, datasets.Dataset):
        return Corpus(read_hugging_face(source), "The dataset", needed=needed)
    paths = source if isinstance(source, list | tuple) else [source]
    if paths and all(isinstance(path, str | Path) for path in paths):
        files = [file for path in paths for file in _files(file_path(path, "a corpus"))]
        return Corpus(_reader(files), " and ".join(repr(str(file)) for file in files[:2]), files, needed)
    raise TypeError(
        f"A corpus cannot be a {as_text(type(source).__name__)}. Pass a pandas DataFrame, a datasets.Dataset (one "
        "split, not streamed: a sweep that resumes reads it again), or the path of a .jsonl, .csv or .parquet file "
        "or a folder."
    )


def _reader(files: Sequence[Path]) -> RowReader:
    endings = sorted({file.suffix.lower() for file in files})
    unknown = [file for file in files if file.suffix.lower() not in _READERS]
    if unknown:
        raise ValueError(f"{str(unknown[0])!r} is no corpus: its name must end in {', '.join(_READERS)}.")
    readers = {_READERS[ending] for ending in endings}
    if len(readers) > 1:
        raise ValueError(f"A corpus is of one kind of file, and these end in {', '.join(endings)}. Pass one kind.")
    return readers.pop()(files)


def _files(path: Path) -> list[Path]:
    """The file, or those of a folder in the order of their names; the folder's other files are left aside."""
    if path.is_file():
        return [path.absolute()]
    if not path.is_dir():
        raise ValueError(f"There is no file or folder {str(path)!r} to read a corpus from.")
    files = [
        file
        for file in sorted(path.absolute().iterdir())
        if file.suffix.lower() in _READERS and file.name[0] not in "._" and file.is_file()
    ]
    if not files:
        raise ValueError(f"The folder {str(path)!r} holds no file whose name ends in {', '.join(_READERS)}.")
    return files

"""Shards: the files of one batch, which appear together."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from dla.errors import FileFormatError
from dla.sweeps.corpora import Corpus
from dla.sweeps.layout import PARTS, PIECES, PROMPTS, RESULTS, SUM_COLUMNS, shard_file, shard_numbers
from dla.sweeps.measuring import Measurement
from dla.sweeps.parquet import arrow, checksums_of, write_parquet
from dla.sweeps.rejections import RejectedRow, rejections
from dla.sweeps.sweep_rows import SweepRow
from dla.views.declared import declared
from dla.views.files import replacing
from dla.views.sealed import sealed_json, unsealed_json


@final
@dataclass(frozen=True)
class ShardResult:
    """What became of the rows of one batch, and of its files.

    Attributes:
        number: The shard's number.
        prompts: How many prompts were attributed.
        rejected: How many rows were rejected.
        unknown: How many of the prompts hold text that the model does not know.
        files: The checksum of each of its files, by its path in the folder.
    """

    number: int
    prompts: int
    rejected: int
    unknown: int
    files: dict[str, str]

    def files_of(self, *kinds: str) -> dict[str, str]:
        """The files of some kinds, with their checksums."""
        return {name: found for name, found in self.files.items() if name.partition("/")[0] in kinds}


def write_result(folder: Path, result: ShardResult) -> None:
    """Writes a result, which makes its shard be there."""
    path = shard_file(folder, RESULTS, result.number)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_text(sealed_json(json.dumps(asdict(result))), encoding="utf-8")


def read_result(folder: Path, number: int) -> ShardResult | None:
    """The result of a shard, if the shard is there.

    Raises:
        FileFormatError: If its file is damaged.
    """
    path = shard_file(folder, RESULTS, number)
    if not path.exists():
        return None
    try:
        result: ShardResult = declared(ShardResult, unsealed_json(path.read_bytes()))
        if result.number != number:
            raise ValueError(f"it is that of shard {result.number}")
    except ValueError as error:
        raise FileFormatError(
            f"{str(path)!r} is damaged ({error}). Delete it: the same call of sweep does its batch again."
        ) from error
    return result


def results_in(folder: Path) -> list[ShardResult]:
    """The results of a sweep that is not complete, in order of their numbers."""
    found = (read_result(folder, number) for number in shard_numbers(folder, RESULTS))
    return [result for result in found if result is not None]


@final
class ShardWriter:
    """Writes the shards of one sweep."""

    def __init__(self, folder: Path, labels: Sequence[str], corpus: Corpus) -> None:
        """Writes nothing yet.

        Args:
            folder: The sweep's.
            labels: The parts'.
            corpus: Gives the columns of its rows.
        """
        self._folder, self._corpus = folder, corpus
        self._labels = arrow().array(labels, "string")

    def write(
        self, number: int, rows: Sequence[SweepRow], measured: Measurement, rejected: Sequence[RejectedRow]
    ) -> ShardResult:
        """Writes a batch: its tables first, its result last, which makes the shard be there.

        Args:
            number: The batch's number.
            rows: The prompts that were attributed.
            measured: What was measured of each.
            rejected: The rows that were not.
        """
        piece, parts, prompts = (shard_file(self._folder, kind, number) for kind in (PIECES, PARTS, PROMPTS))
        if rejected:
            write_parquet(rejections(rejected, self._corpus.columns), piece)
        else:
            piece.unlink(missing_ok=True)  # one that was killed here may have had less memory
        write_parquet(self._parts(rows, measured), parts, ["row", "part"])
        write_parquet(self._prompts(rows, measured), prompts)
        files = checksums_of(self._folder, [*([piece] if rejected else []), parts, prompts])
        result = ShardResult(number, len(rows), len(rejected), sum(row.unknown for row in rows), files)
        write_result(self._folder, result)
        return result

    def _parts(self, rows: Sequence[SweepRow], measured: Measurement) -> Any:
        pyarrow, count = arrow(), len(self._labels)
        codes = pyarrow.array(np.tile(np.arange(count, dtype=np.int32), len(rows)))
        return pyarrow.table(
            {
                "row": np.repeat(np.array([row.number for row in rows], dtype=np.int64), count),
                "part": pyarrow.DictionaryArray.from_arrays(codes, self._labels),
                "value": np.ascontiguousarray(measured.values).reshape(-1),
            }
        )

    def _prompts(self, rows: Sequence[SweepRow], measured: Measurement) -> Any:
        pyarrow, kept = arrow(), self._corpus.table([row.source for row in rows])
        return pyarrow.table(
            {
                "row": pyarrow.array([row.number for row in rows], "int64"),
                **{name: kept[name] for name in kept.column_names},
                "tokens": pyarrow.array([row.tokens for row in rows], "int32"),
                "at": pyarrow.array([row.at for row in rows], "int32"),
                **{name: measured.sums[:, i] for i, name in enumerate(SUM_COLUMNS)},
            }
        )

"""Writing shards: the files of one batch, which appear together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from dla.sweeps.corpora import Corpus
from dla.sweeps.measuring import Measured
from dla.sweeps.parquet import UNFINISHED, arrow, replacing, write_parquet
from dla.sweeps.questions import SweepRow
from dla.sweeps.rejections import RejectedRow, rejections
from dla.sweeps.schema import PARTS, PIECES, PROMPTS, REJECTED, SEALS, SUMS, shard_file, shard_numbers
from dla.sweeps.seals import Seal, checksums_of, read_seal, read_sealed, write_seal


@final
@dataclass(frozen=True)
class Receipt:
    """What became of the rows of one batch.

    Attributes:
        number: The batch's number.
        prompts: How many were attributed.
        rejected: How many were rejected.
        unknown: How many of the prompts hold text that the model does not know.
        new: Whether it was done now, not found in the folder.
    """

    number: int
    prompts: int
    rejected: int
    unknown: int
    new: bool

    @staticmethod
    def of(seal: Seal, new: bool) -> "Receipt":
        """The receipt of a shard that is there."""
        return Receipt(seal.number, seal.prompts, seal.rejected, seal.unknown, new)


@final
class ShardWriter:
    """Writes the shards of one sweep; a shard that is there is never written again."""

    def __init__(self, folder: Path, labels: Sequence[str], corpus: Corpus) -> None:
        """Writes nothing yet.

        Args:
            folder: The sweep's.
            labels: The parts'.
            corpus: Gives the columns of its rows.
        """
        self._folder, self._corpus = folder, corpus
        self._labels = arrow().array(labels, "string")

    def receipt(self, number: int) -> Receipt | None:
        """The receipt of a shard that is there.

        Raises:
            FileFormatError: If its seal is damaged.
        """
        seal = read_seal(self._folder, number)
        return None if seal is None else Receipt.of(seal, new=False)

    def write(
        self,
        number: int,
        questions: Sequence[SweepRow],
        measured: Measured,
        rejected: Sequence[RejectedRow],
    ) -> Receipt:
        """Writes a batch: its tables first, the seal last, which makes the shard be there.

        Args:
            number: The batch's number.
            questions: The prompts that were attributed.
            measured: What was measured of each.
            rejected: The rows that were not.
        """
        piece, parts, prompts = (shard_file(self._folder, kind, number) for kind in (PIECES, PARTS, PROMPTS))
        if rejected:
            write_parquet(rejections(rejected, self._corpus.columns), piece)
        else:
            piece.unlink(missing_ok=True)  # one that was killed here may have had less memory
        rows = np.array([question.number for question in questions], dtype=np.int64)
        write_parquet(self._parts(rows, measured), parts, ["row", "part"])
        write_parquet(self._prompts(questions, rows, measured), prompts)
        unknown = sum(question.unknown > 0 for question in questions)
        files = checksums_of(self._folder, [*([piece] if rejected else []), parts, prompts])
        seal = Seal(number, len(questions), len(rejected), unknown, files)
        write_seal(self._folder, seal)
        return Receipt.of(seal, new=True)

    def _parts(self, rows: Any, measured: Measured) -> Any:
        pyarrow, count = arrow(), len(self._labels)
        codes = pyarrow.array(np.tile(np.arange(count, dtype=np.int32), len(rows)))
        return pyarrow.table(
            {
                "row": np.repeat(rows, count),
                "part": pyarrow.DictionaryArray.from_arrays(codes, self._labels),
                "value": np.ascontiguousarray(measured.values).reshape(-1),
            }
        )

    def _prompts(self, questions: Sequence[SweepRow], rows: Any, measured: Measured) -> Any:
        pyarrow, kept = arrow(), self._corpus.table([question.source for question in questions])
        own: Mapping[str, Any] = {
            "tokens": pyarrow.array([question.tokens for question in questions], "int32"),
            "at": pyarrow.array([question.at for question in questions], "int32"),
            **{name: measured.sums[:, i] for i, name in enumerate(SUMS)},
        }
        return pyarrow.table({"row": rows, **{name: kept[name] for name in kept.column_names}, **own})


def remove_unfinished(folder: Path) -> None:
    """Removes what a sweep that was killed left half written."""
    for file in folder.rglob(f".*{UNFINISHED}"):
        file.unlink(missing_ok=True)


def gather_rejections(folder: Path, columns: Sequence[str], seals: Sequence[Seal]) -> None:
    """Puts the rejected rows of all shards into one file, in order of the shards."""
    writer, schema = arrow("parquet").ParquetWriter, rejections([], columns).schema
    with replacing(folder / REJECTED) as unfinished, writer(unfinished, schema, compression="zstd") as file:
        for seal in seals:
            for name, expected in seal.of(PIECES).items():
                file.write_table(read_sealed(folder, name, expected, "Delete the folder, and sweep again."))


def remove_pieces(folder: Path) -> None:
    """Removes what the manifest and `gather_rejections` have gathered."""
    for kind in (PIECES, SEALS):
        for number in shard_numbers(folder, kind):
            shard_file(folder, kind, number).unlink()
        if (folder / kind).exists():
            (folder / kind).rmdir()

"""Reading the folder that a sweep wrote."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float

from dla.errors import FileFormatError
from dla.inputs.arguments import file_path
from dla.sweeps.layout import PARTS, PIECES, PROMPTS, REJECTED, RESULTS, shard_file, shard_numbers
from dla.sweeps.manifest import read_manifest
from dla.sweeps.manifest_fields import PartOf
from dla.sweeps.parquet import check_files, read_checked
from dla.sweeps.rejections import RejectionReason, reasons_of, reported
from dla.sweeps.shards import ShardResult, results_in
from dla.text import as_text
from dla.views.grid import Grid


@final
@dataclass(frozen=True, eq=False)
class Shard:
    """The prompts of one batch.

    Attributes:
        number: The shard's number.
        prompts: One row per prompt, in order of `row`, its place in the corpus: the corpus' columns, and the sums.
        values: What each part contributed, in logits, in the same order of rows.
    """

    number: int
    prompts: pd.DataFrame = field(repr=False)
    values: Float[np.ndarray, "prompt part"] = field(repr=False)


@final
@dataclass(frozen=True, eq=False)
class SweepFolder:
    """What a sweep wrote, complete or not; prints what it holds.

    Attributes:
        path: The folder.
        manifest: The contents of `manifest.json`.
        parts: The parts, in the order of the second axis of a shard's values.
    """

    path: Path
    manifest: Mapping[str, Any] = field(repr=False)
    parts: tuple[PartOf, ...] = field(repr=False)

    @property
    def labels(self) -> list[str]:
        """The labels of the parts."""
        return [part.label for part in self.parts]

    @property
    def columns(self) -> list[str]:
        """The columns of the corpus."""
        return list(self.manifest["columns"])

    @property
    def complete(self) -> bool:
        """Whether every row of the corpus was attributed or rejected."""
        return bool(self.manifest["complete"])

    @property
    def count(self) -> int:
        """How many prompts were attributed."""
        return int(self.manifest["counts"]["prompts"])

    @property
    def rejected_file(self) -> Path:
        """Where the rejected rows are: a Parquet file, or, while the sweep is not complete, a folder of them."""
        return self.path / (REJECTED if self.complete else PIECES)

    def results(self) -> list[ShardResult]:
        """What was noted of each shard that is there, in order of their numbers.

        Raises:
            FileFormatError: If a shard is there that the sweep did not write.
        """
        if not self.complete:
            return results_in(self.path)
        results = [ShardResult(**each) for each in self.manifest["shards"]]
        for kind in (PROMPTS, PARTS):
            strange = sorted({*shard_numbers(self.path, kind)} - {result.number for result in results})
            if strange:
                file = str(shard_file(self.path, kind, strange[0]))
                raise FileFormatError(f"{file!r} is not of the sweep that its folder holds. Take it away.")
        return results

    def check(self) -> None:
        """Reads every file, and compares it with the checksum that the sweep noted.

        Raises:
            FileFormatError: If one is missing, or not what the sweep wrote.
        """
        for result in self.results():
            check_files(self.path, result.files, self._remedy(result))
        check_files(self.path, self.manifest["files"], _ANEW)

    def shards(self) -> Iterator[Shard]:
        """The shards that are there, one at a time, in order of their numbers.

        Raises:
            FileFormatError: If a file is missing, or is not what the sweep wrote.
        """
        for result in self.results():
            yield self._shard(result)

    def prompts(self) -> list[str]:
        """The prompts that were attributed, as text, in order; an ablation can take their mean.

        Raises:
            FileFormatError: If a file is missing, or is not what the sweep wrote.
        """
        found = [shard.prompts[["row", "prompt"]] for shard in self.shards()]
        texts: list[str] = pd.concat(found).sort_values("row", kind="stable")["prompt"].tolist() if found else []
        return texts

    def rejected(self) -> pd.DataFrame:
        """The rejected rows, in order, with the reason of each and the corpus' columns as text.

        Raises:
            FileFormatError: If a file is missing, or is not what the sweep wrote.
        """
        frames = [frame for frame in self._rejections() if len(frame)]
        empty = pd.DataFrame(columns=["row", "reason", *self.columns])
        return pd.concat(frames).sort_values("row", ignore_index=True) if frames else empty

    def reasons(self) -> tuple[RejectionReason, ...]:
        """Why rows were rejected: each kind of reason with its count and the first rows, the most frequent first."""
        if not self.complete:
            return reasons_of(self.rejected())
        return tuple(RejectionReason(**{**each, "rows": tuple(each["rows"])}) for each in self.manifest["reasons"])

    def notes(self) -> list[str]:
        """What to know before using the numbers, in lines: which rows were rejected and why, and unknown words."""
        counts = self.manifest["counts"]
        rejected, unknown = counts["rejected"], counts["unknown"]
        lines = []
        if self.complete and not self.count:
            lines.append("No row was kept: there is nothing to summarise.")
        if rejected:
            lines += [f"{rejected} of {self.count + rejected} rows were rejected:", *reported(self.reasons())]
            lines.append(f"The rejected rows, with their reasons, are in {as_text(str(self.rejected_file))}")
        if unknown:
            lines.append(f"Prompts with words that the model does not know, and reads as its unknown token: {unknown}")
        return lines

    def to_dataframe(self) -> pd.DataFrame:
        """One row per prompt and part, all in memory: `row`, the corpus' columns, `part`, `value` in logits."""
        frames = [_long(shard, self.columns, self.labels) for shard in self.shards()]
        if not frames:
            return pd.DataFrame(columns=["row", *self.columns, "part", "value"])
        return pd.concat(frames, ignore_index=True).sort_values("row", kind="stable", ignore_index=True)

    def __str__(self) -> str:
        counts = self.manifest["counts"]
        what = f"{self.manifest['decomposer']} on {self.manifest['model']['name']}"
        state = "complete" if self.complete else "not complete: the same call resumes it"
        lines = [
            f"{as_text(str(self.path))}: {as_text(what)}, {len(self.parts)} parts",
            f"{counts['prompts']} prompts, {counts['rejected']} rejected, {counts['seconds']:.1f} s ({state})",
            *self.notes(),
        ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"SweepFolder({', '.join(as_text(' '.join(row)) for row in self._facts())})"

    def _repr_html_(self) -> str:
        return Grid.of_rows(str(self.path), ("", ""), self._facts()).html()

    def _facts(self) -> list[tuple[str, str]]:
        counts = self.manifest["counts"]
        return [
            ("path", str(self.path)),
            ("decomposer", str(self.manifest["decomposer"])),
            ("model", str(self.manifest["model"]["name"])),
            ("parts", str(len(self.parts))),
            ("prompts", str(counts["prompts"])),
            ("rejected", str(counts["rejected"])),
            ("complete", "yes" if self.complete else "no"),
        ]

    def _remedy(self, result: ShardResult) -> str:
        if self.complete:
            return _ANEW
        path = str(shard_file(self.path, RESULTS, result.number))
        return f"Delete {path!r}: the same call of sweep then does its batch again."

    def _shard(self, result: ShardResult) -> Shard:
        prompts, table = (self._table(result, kind) for kind in (PROMPTS, PARTS))
        rows = prompts["row"].to_numpy()
        values = table["value"].to_numpy().reshape(len(rows), len(self.parts))
        assert np.array_equal(table["row"].to_numpy(), np.repeat(rows, len(self.parts)))
        return Shard(result.number, prompts.to_pandas(), values)

    def _rejections(self) -> Iterator[pd.DataFrame]:
        if self.complete:
            yield read_checked(self.path, REJECTED, self.manifest["files"][REJECTED], _ANEW).to_pandas()
            return
        yield from (self._table(result, PIECES).to_pandas() for result in self.results() if result.rejected)

    def _table(self, result: ShardResult, kind: str) -> Any:
        name = shard_file(self.path, kind, result.number).relative_to(self.path).as_posix()
        return read_checked(self.path, name, result.files[name], self._remedy(result))


_ANEW = "Delete the folder, and sweep again."


def open_sweep(folder: str | Path) -> SweepFolder:
    """Opens what `sweep` wrote.

    Args:
        folder: The folder, of a complete sweep or of one that can be resumed.

    Raises:
        FileFormatError: If it is no sweep's folder, or its manifest is damaged.
        TypeError: If it is no path.
    """
    path = file_path(folder, "a sweep's folder")
    manifest = read_manifest(path)
    return SweepFolder(path, manifest, tuple(PartOf(**part) for part in manifest["parts"]))


def _long(shard: Shard, columns: list[str], labels: list[str]) -> pd.DataFrame:
    count = len(labels)
    frame = shard.prompts[["row", *columns]].loc[shard.prompts.index.repeat(count)].reset_index(drop=True)
    parts = pd.Categorical.from_codes(np.tile(np.arange(count), len(shard.prompts)), pd.Index(labels))
    return frame.assign(part=parts, value=shard.values.reshape(-1))

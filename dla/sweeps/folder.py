"""Reading a sweep's folder."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from jaxtyping import Float

from dla.errors import FileFormatError
from dla.sweeps.parquet import read_parquet
from dla.sweeps.schema import FORMAT, MANIFEST, PARTS, PIECES, PROMPTS, REJECTED, shard_file, shard_numbers
from dla.views.html import html_rows


@final
@dataclass(frozen=True)
class PartOf:
    """One part of the model, as a sweep's manifest names it.

    Attributes:
        label: Its label, as in `Attribution.labels`.
        kind: What sort of part it is, such as "head".
        layer: The block that it belongs to, if it belongs to one.
        index: Which of several parts of that kind in that layer.
        head: The head's number, where the part is a head or a piece of one.
    """

    label: str
    kind: str
    layer: int | None
    index: int | None
    head: int | None


@final
@dataclass(frozen=True, eq=False)
class Shard:
    """The prompts of one batch.

    Attributes:
        number: The shard's number.
        prompts: One row a prompt, in order of `row`: its place in the corpus, the corpus' columns, and the sums.
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
        """The parts' labels."""
        return [part.label for part in self.parts]

    @property
    def columns(self) -> list[str]:
        """The corpus' columns."""
        return list(self.manifest["columns"])

    @property
    def complete(self) -> bool:
        """Whether every row of the corpus was done or rejected."""
        return bool(self.manifest["complete"])

    def shards(self) -> Iterator[Shard]:
        """The shards that are there, one at a time, in order of their numbers.

        Raises:
            FileFormatError: If a file was cut short, or does not belong to this sweep.
        """
        for number in shard_numbers(self.path):
            yield self._shard(number)

    def rejected(self) -> pd.DataFrame:
        """The rows that could not be asked, in order, with the reason of each and the corpus' columns as text."""
        pieces = [shard_file(self.path, PIECES, number) for number in shard_numbers(self.path, PIECES)]
        there = (
            [self.path / REJECTED] if self.complete else [p for p in pieces if (self.path / PROMPTS / p.name).exists()]
        )
        frames = [read_parquet(file).to_pandas() for file in there]
        empty = pd.DataFrame(columns=["row", "reason", *self.columns])
        return pd.concat(frames).sort_values("row", ignore_index=True) if frames else empty

    def to_dataframe(self) -> pd.DataFrame:
        """One row a prompt and part, all in memory: `row`, the corpus' columns, `part`, `value`."""
        frames = [_long(shard, self.columns, self.labels) for shard in self.shards()]
        if not frames:
            return pd.DataFrame(columns=["row", *self.columns, "part", "value"])
        return pd.concat(frames, ignore_index=True).sort_values("row", kind="stable", ignore_index=True)

    def __str__(self) -> str:
        counts = self.manifest["counts"]
        state = "complete" if self.complete else "not complete: the same call goes on"
        return (
            f"{self.path}: {self.manifest['decomposer']} on {self.manifest['model']['name']}, {len(self.parts)} parts\n"
            f"{counts['prompts']} prompts, {counts['rejected']} rejected, {counts['seconds']:.1f} s ({state})"
        )

    def __repr__(self) -> str:
        return f"SweepFolder({', '.join(' '.join(row) for row in self._facts())})"

    def _repr_html_(self) -> str:
        return html_rows(str(self.path), ("", ""), self._facts())

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

    def _shard(self, number: int) -> Shard:
        prompts = read_parquet(shard_file(self.path, PROMPTS, number)).to_pandas()
        table = read_parquet(shard_file(self.path, PARTS, number))
        rows, values = table["row"].to_numpy(), table["value"].to_numpy()
        if not np.array_equal(rows, np.repeat(prompts["row"].to_numpy(), len(self.parts))):
            raise FileFormatError(
                f"The two files of shard {number} in {str(self.path)!r} do not belong together. Delete both, and "
                "call sweep again with the same arguments."
            )
        return Shard(number, prompts, values.reshape(len(prompts), len(self.parts)))


def open_sweep(folder: str | Path) -> SweepFolder:
    """Opens what `sweep` wrote.

    Args:
        folder: The folder, of a complete sweep or of one that is still to go on.

    Raises:
        FileFormatError: If it is no sweep's folder.
    """
    path = Path(folder)
    if not (path / MANIFEST).is_file():
        raise FileFormatError(
            f"{str(path)!r} is not a sweep's folder: it has no {MANIFEST}. Pass one that sweep wrote."
        )
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        found = manifest.get("format") if isinstance(manifest, dict) else None
        if found != FORMAT:
            raise ValueError(f"its format is {found!r} and this library reads {FORMAT!r}")
        return SweepFolder(path, manifest, tuple(PartOf(**part) for part in manifest["parts"]))
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(
            f"{str(path / MANIFEST)!r} was not written by this library, or was cut short ({error})."
        ) from error


def _long(shard: Shard, columns: list[str], labels: list[str]) -> pd.DataFrame:
    count = len(labels)
    frame = shard.prompts[["row", *columns]].loc[shard.prompts.index.repeat(count)].reset_index(drop=True)
    parts = pd.Categorical.from_codes(np.tile(np.arange(count), len(shard.prompts)), pd.Index(labels))
    return frame.assign(part=parts, value=shard.values.reshape(-1))

"""What a sweep's folder holds: the names of its files and columns.

    manifest.json             what was run: model, corpus, settings, parts, versions; how far it came; checksums
    prompts/00000000.parquet  one row a prompt: `row`, the corpus' columns, `tokens`, `at`, and `SUMS`
    parts/00000000.parquet    one row a prompt and part: `row`, `part`, `value`
    rejected.parquet          the rows that could not be asked: `row`, `reason`, the corpus' columns as text
    rejected/00000000.parquet the same of one shard, until the sweep is complete
    seals/00000000.json       the checksums of one shard's files; the manifest has them when the sweep is complete

A shard is one batch, named by a number that the corpus alone decides on. Its files appear by renaming, the seal last: a
shard is there when its seal is.
"""

from pathlib import Path

FORMAT = "dla.sweep/3"
MANIFEST, REJECTED, LOCK = "manifest.json", "rejected.parquet", ".lock"
PROMPTS, PARTS, PIECES, SEALS = "prompts", "parts", "rejected", "seals"
SUMS = ("total", "constant", "logit", "output_logit", "gap", "tolerance")
RESERVED = frozenset({"row", "tokens", "at", *SUMS, "part", "value", "reason"})
"""Names that a corpus' column cannot have."""


def shard_file(folder: Path, kind: str, number: int) -> Path:
    """Where a shard's file of that kind is."""
    return folder / kind / f"{number:08d}{'.json' if kind == SEALS else '.parquet'}"


def shard_numbers(folder: Path, kind: str) -> list[int]:
    """The numbers of the shards that have a file of that kind, in order."""
    return sorted(int(file.stem) for file in (folder / kind).glob("[0-9]*.*") if file.stem.isdecimal())

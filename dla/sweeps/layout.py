"""What a sweep's folder holds: the names of its files and columns.

    manifest.json             what was run: model, corpus, settings, parts, versions; how far it came; checksums
    prompts/00000000.parquet  one row per prompt: `row`, the corpus' columns, `tokens`, `at`, and `SUM_COLUMNS`
    parts/00000000.parquet    one row per prompt and part: `row`, `part`, `value`
    rejected.parquet          the rows that were rejected: `row`, `reason`, the corpus' columns as text
    rejected/00000000.parquet the same of one shard, until the sweep is complete
    results/00000000.json     the counts and checksums of one shard; the manifest has them when the sweep is complete

A shard is one batch. Its number is the first row of its window, plus its place in the window: the corpus and the
settings alone decide on it. Its files appear by renaming, its result last:
a shard is there when its result is.
"""

from pathlib import Path

SWEEP_FORMAT = "dla.sweep/5"
MANIFEST, REJECTED, LOCK, OWNER = "manifest.json", "rejected.parquet", ".lock", ".owner"
PROMPTS, PARTS, PIECES, RESULTS = "prompts", "parts", "rejected", "results"
SUM_COLUMNS = ("total", "constant", "logit", "output_logit", "gap", "tolerance")
RESERVED = frozenset({"row", "tokens", "at", *SUM_COLUMNS, "part", "value", "reason"})
"""Names that a corpus' column cannot have."""


def shard_file(folder: Path, kind: str, number: int) -> Path:
    """Where a shard's file of that kind is."""
    return folder / kind / f"{number:08d}{'.json' if kind == RESULTS else '.parquet'}"


def shard_numbers(folder: Path, kind: str) -> list[int]:
    """The numbers of the shards that have a file of that kind, in order.

    Raises:
        PermissionError: If that cannot be seen.
    """
    there = folder / kind
    # not `glob`, which finds nothing where it may not look
    files = there.iterdir() if there.is_dir() else ()
    return sorted(int(file.stem) for file in files if file.suffix and file.stem.isdecimal())

"""What a manifest holds: its fields and their types, by which one that was made by hand is refused."""

from dataclasses import dataclass
from typing import final

from dla.sweeps.batches import BatchSettings
from dla.sweeps.rejections import RejectionReason
from dla.sweeps.shards import ShardResult


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
@dataclass(frozen=True)
class ModelNumbers:
    """Some numbers that a model computes, and how large they are together."""

    numbers: list[float]
    size: float


@final
@dataclass(frozen=True)
class ModelFields:
    """What a model is and computes; see `identity`."""

    name: str
    dtype: str
    weights: str
    settings: dict[str, str]
    tokenizer: str
    hooks: list[str]
    samples: list[tuple[list[int], int, int | None]]
    numbers: list[list[ModelNumbers] | None]


@final
@dataclass(frozen=True)
class CorpusFields:
    """A corpus, whose fingerprint changes with every row."""

    fingerprint: str
    rows: int


@final
@dataclass(frozen=True)
class SweepCounts:
    """How many prompts were attributed, rows rejected, prompts not quite known; and how long it took."""

    prompts: int
    rejected: int
    unknown: int
    seconds: float


@final
@dataclass(frozen=True)
class ManifestFields:
    """A manifest.

    Attributes:
        format: Of the folder.
        created: When the sweep began.
        complete: Whether every row of the corpus was attributed or rejected.
        model: What the model is and computes.
        decomposer: How the stream was split.
        plan: Changes with the parts.
        row_kind: What the rows have to do with the total.
        direction: What was asked for.
        parts: The parts.
        corpus: What was swept.
        columns: Those of the corpus.
        settings: How the corpus was gone over.
        versions: Of this library and what it runs on.
        counts: How far it came.
        reasons: Why rows were rejected; empty until the sweep is complete, as are `shards` and `files`.
        shards: What became of each batch.
        files: The checksums of the files that belong to no shard.
    """

    format: str
    created: str
    complete: bool
    model: ModelFields
    decomposer: str
    plan: str
    row_kind: str
    direction: str
    parts: list[PartOf]
    corpus: CorpusFields
    columns: list[str]
    settings: BatchSettings
    versions: dict[str, str]
    counts: SweepCounts
    reasons: list[RejectionReason]
    shards: list[ShardResult]
    files: dict[str, str]

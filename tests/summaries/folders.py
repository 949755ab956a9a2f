"""Sweeps' folders made by hand, whose every number is known."""

from dataclasses import asdict

import numpy as np
import pandas as pd
import pyarrow as pa

from dla.sweeps.layout import PARTS, PROMPTS, SUM_COLUMNS, SWEEP_FORMAT, shard_file, shard_numbers
from dla.sweeps.manifest import write_manifest
from dla.sweeps.parquet import checksums_of, write_parquet
from dla.sweeps.question import DIFFERENCE, LOGIT
from dla.sweeps.shards import ShardResult, write_result

LABELS = ("embed", "L0H0", "L0H1", "L1H0", "0_b_O")
TOLERANCE = 1e-4

MODEL = {
    "name": "a model",
    "weights": "0123456789abcdef",
    "dtype": "float32",
    "settings": {},
    "tokenizer": "words",
    "hooks": [],
    "samples": [[[1, 2], 1, None]],
    "numbers": [[{"numbers": [1.0, 2.0], "size": 3.0}]],
}
"""What a manifest says of the model."""


SETTINGS = {"limit": None, "batch_tokens": 8192, "window": 1024, "prepend_bos": None, "check": "raise"}
"""How a manifest says that the corpus was gone over."""


def parts_of(labels):
    """What a manifest says of each part."""
    for label in labels:
        head = label.startswith("L") and "H" in label
        layer, index = map(int, label[1:].split("H")) if head else (None, None)
        yield {"label": label, "kind": "head" if head else label, "layer": layer, "index": index, "head": index}


def corpus(n, seed=0, start=0):
    """Rows `start` to `start + n` of an endless corpus, with columns to split by."""
    rng, end = np.random.default_rng(seed), start + n
    columns = {
        "row": np.arange(end),
        "prompt": [f"prompt {i} of corpus {seed}" for i in range(end)],
        "incorrect": [" Tom"] * end,
    }
    each = rng.random((end, 3))
    columns["answer"] = np.where(each[:, 2] < 0.5, " Mary", " John")
    columns["order"] = np.where(each[:, 0] < 0.5, "ABBA", "BABA")
    columns["length"] = 3 + (3 * each[:, 1]).astype(np.int64)
    return pd.DataFrame(columns)[start:].reset_index(drop=True)


def drawn(n, labels=LABELS, seed=0):
    """Values in float32, as a sweep writes them; each part has a mean and a spread of its own."""
    rng = np.random.default_rng(seed)
    means, spreads = rng.normal(0, 2, len(labels)), rng.uniform(0.1, 2, len(labels))
    return (means + spreads * rng.normal(size=(n, len(labels)))).astype(np.float32)


def sums_of(values):
    """Sums that fit the values: some constant, and some gap within the tolerance."""
    total = values.sum(1, dtype=np.float64)
    constant, gap = np.sin(1e3 * total), 0.9 * TOLERANCE * np.sin(1e5 * total)
    logit = total + constant + gap
    columns = (total, constant, logit, np.tanh(logit), gap, np.full(len(values), TOLERANCE))
    return dict(zip(SUM_COLUMNS, columns, strict=True))


def write_folder(folder, prompts, values, *, labels=LABELS, sizes=(), order=None, **manifest):
    """A sweep's folder with shards of those sizes, the last one with the rest.

    Args:
        folder: Where.
        prompts: The corpus, one row a prompt.
        values: What each part contributed.
        labels: The parts.
        sizes: How many rows each shard has.
        order: The order in which the rows come to the shards; inside a shard they are sorted.
        manifest: Entries that take the place of the usual ones.
    """
    frame = prompts.assign(tokens=9, at=8, **sums_of(values))
    rows = np.arange(len(frame)) if order is None else np.asarray(order)
    for number, places in enumerate(np.split(rows, np.cumsum(sizes)) if len(rows) else []):
        places = np.sort(places)
        shard = frame.iloc[places]
        write_parquet(pa.Table.from_pandas(shard, preserve_index=False), shard_file(folder, PROMPTS, number))
        long = {
            "row": np.repeat(shard["row"].to_numpy(), len(labels)),
            "part": pa.array(list(labels) * len(shard)).dictionary_encode(),
            "value": values[places].reshape(-1),
        }
        write_parquet(pa.table(long), shard_file(folder, PARTS, number))
    usual = {
        "format": SWEEP_FORMAT,
        "created": "2024-01-01T00:00:00+00:00",
        "plan": "a plan",
        "corpus": {"fingerprint": "a corpus", "rows": len(frame)},
        "versions": {},
        "parts": list(parts_of(labels)),
        "model": {},
        "decomposer": "HeadDecomposer",
        "row_kind": "additive",
        "direction": DIFFERENCE if "incorrect" in prompts.columns else LOGIT,
        "settings": {},
        "complete": True,
        "columns": [name for name in prompts.columns if name != "row"],
        "counts": {},
    }
    told = {**usual, **manifest}
    told["model"] = {**MODEL, **told["model"]}
    told["settings"] = {**SETTINGS, **told["settings"]}
    told["counts"] = {"prompts": len(frame), "rejected": 0, "unknown": 0, "seconds": 1.0, **told["counts"]}
    seal(folder, told)
    return folder


def seal(folder, manifest):
    """Writes the manifest, and the checksums of the files that are there."""
    files = {"rejected.parquet": "none"} if manifest["complete"] else {}
    shards = []
    for number in shard_numbers(folder, PROMPTS):
        checksums = checksums_of(folder, [shard_file(folder, kind, number) for kind in (PROMPTS, PARTS)])
        shards.append(ShardResult(number, 0, 0, 0, checksums))
        if not manifest["complete"]:
            write_result(folder, shards[-1])
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder, {**manifest, "files": files, "shards": [asdict(shard) for shard in shards], "reasons": []})

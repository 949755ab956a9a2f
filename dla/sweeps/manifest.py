"""The manifest: what a folder's numbers come from, whether a call resumes them, and who may write."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dla.adapters.fingerprints import differences
from dla.attributor import Attributor
from dla.errors import DLAError, FileFormatError
from dla.provenance import versions
from dla.sweeps.batches import BatchSettings
from dla.sweeps.corpora import Corpus
from dla.sweeps.identity import computes_otherwise
from dla.sweeps.layout import LOCK, MANIFEST, OWNER, SWEEP_FORMAT
from dla.sweeps.manifest_fields import ManifestFields, PartOf
from dla.sweeps.static_plan import StaticPlan
from dla.views.declared import declared_of
from dla.views.files import replacing
from dla.views.sealed import sealed_json, unsealed_json

_SHOWN = 300
"""How many characters of a decomposer's `repr` are kept."""


def new_manifest(
    attributor: Attributor, plan: StaticPlan, corpus: Corpus, settings: BatchSettings, model: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest of a sweep that has not begun.

    Args:
        attributor: The model, and how it is split.
        plan: The decomposer's plan for the model.
        corpus: The rows.
        settings: How to go over the corpus.
        model: What `identity` gave for the model.
    """
    return {
        "format": SWEEP_FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "complete": False,
        "model": model,
        "decomposer": re.sub(r" at 0x[0-9a-f]+", "", repr(attributor.decomposer))[:_SHOWN],
        "plan": plan.digest,
        "row_kind": plan.plan.row_kind.value,
        "direction": plan.question.words,
        "parts": [asdict(PartOf(str(each), each.kind, each.layer, each.index, each.head)) for each in plan.labels],
        "corpus": {"fingerprint": corpus.fingerprint, "rows": corpus.size},
        "columns": list(corpus.columns),
        "settings": asdict(settings),
        "versions": versions(),
        "counts": {"prompts": 0, "rejected": 0, "unknown": 0, "seconds": 0.0},
        "reasons": [],
        "shards": [],
        "files": {},
    }


def agreed(folder: Path, new: Mapping[str, Any]) -> dict[str, Any] | None:
    """The manifest that the folder has; None where it is new. Writes nothing.

    Raises:
        ValueError: If the folder holds another sweep, or something else.
        FileFormatError: If its manifest is damaged.
    """
    if not (folder / MANIFEST).exists():
        other = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
        if other:
            raise ValueError(
                f"{str(folder)!r} holds other things ({other[0]!r}) and no sweep. Pass a new folder, or an empty one."
            )
        return None
    old = read_manifest(folder)
    found = list(_differences(old, new)) or list(computes_otherwise(old["model"], new["model"]))
    if found:
        raise ValueError(
            f"{str(folder)!r} holds a sweep of something else: {'; '.join(found)}. Pass another folder, or delete this "
            "one to start anew."
        )
    return old


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest with its checksum; the old one stays until the new one is whole."""
    text = json.dumps(manifest, indent=1, allow_nan=False) + "\n"
    with replacing(folder / MANIFEST) as unfinished:
        unfinished.write_text(sealed_json(text), encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a sweep's folder.

    Raises:
        FileFormatError: If there is none, or it is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileFormatError(
            f"{str(folder)!r} is not a sweep's folder: it has no {MANIFEST}. Pass one that sweep wrote."
        )
    try:
        contents = path.read_bytes()
        declared_of(contents, ManifestFields, SWEEP_FORMAT)
    except ValueError as error:
        raise FileFormatError(
            f"{str(path)!r} was not written by this library, or is damaged ({error}). Delete the folder, and sweep "
            "again."
        ) from error
    return dict(json.loads(unsealed_json(contents)))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder's lock: one process at a time writes. The system frees it when the process ends.

    Raises:
        DLAError: If another process holds it.
    """
    lock, owner = FileLock(folder / LOCK), folder / OWNER
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        process = owner.read_text(encoding="utf-8") if owner.exists() else "unknown"
        raise DLAError(
            f"Another process ({process}) is sweeping into {str(folder)!r}. Wait for it, stop it, or pass another "
            "folder."
        ) from error
    try:
        with replacing(owner) as unfinished:
            unfinished.write_text(f"pid {os.getpid()}", encoding="utf-8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    yield from differences(old["model"], new["model"])
    if old["plan"] != new["plan"] or old["row_kind"] != new["row_kind"]:
        yield f"the parts differ ({old['decomposer']} there, {new['decomposer']} here)"
    if old["direction"] != new["direction"]:
        yield f"it asks for the {old['direction']} there, and for the {new['direction']} here"
    if old["corpus"] != new["corpus"] or old["columns"] != new["columns"]:
        there, here = (f"{each['corpus']['rows']} rows, {each['corpus']['fingerprint'][:8]}" for each in (old, new))
        yield f"the corpus differs ({there} there, {here} here)"
    for name, value in new["settings"].items():
        if old["settings"][name] != value:
            yield f"{name} was {old['settings'][name]!r} and is {value!r}"

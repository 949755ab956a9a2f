"""The manifest: what a folder's numbers come from, and whether a call goes on with them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dla.attributor import Attributor
from dla.labels import Label
from dla.provenance import versions
from dla.sweeps.corpora import Corpus
from dla.sweeps.fixed import FixedPlan
from dla.sweeps.folder import PartOf, manifest_checksum, open_sweep
from dla.sweeps.identity import computes_otherwise, differences
from dla.sweeps.parquet import replacing
from dla.sweeps.schema import FORMAT, MANIFEST
from dla.sweeps.settings import BatchSettings

_SHOWN = 300

LOGIT, DIFFERENCE = "logit of answer", "logit of answer - logit of incorrect"
"""What a sweep asks for: one or the other, for all rows."""


def new_manifest(
    attributor: Attributor, plan: FixedPlan, corpus: Corpus, settings: BatchSettings, model: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest of a sweep that has not begun, with what `identity` gave for the model."""
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "complete": False,
        "model": model,
        "decomposer": _without_addresses(repr(attributor.decomposer))[:_SHOWN],
        "plan": plan.digest,
        "row_kind": plan.plan.row_kind.value,
        "direction": DIFFERENCE if corpus.compares else LOGIT,
        "parts": [asdict(_part(label)) for label in plan.labels],
        "corpus": {"fingerprint": corpus.fingerprint(), "rows": corpus.size},
        "columns": list(corpus.columns),
        "settings": asdict(settings),
        "versions": versions(),
        "counts": {"prompts": 0, "rejected": 0, "unknown": 0, "seconds": 0.0},
        "reasons": [],
        "shards": [],
        "files": {},
    }


def agreed(folder: Path, new: dict[str, Any]) -> dict[str, Any]:
    """The manifest that the folder has, or, where it is new, the one that it gets.

    Raises:
        ValueError: If the folder holds another sweep, or something else.
    """
    if not (folder / MANIFEST).exists():
        _check_empty(folder)
        write_manifest(folder, new)
        return new
    old = dict(open_sweep(folder).manifest)
    differences = list(_differences(old, new)) or list(computes_otherwise(old["model"], new["model"]))
    if differences:
        raise ValueError(
            f"{str(folder)!r} holds a sweep of something else: {'; '.join(differences)}. Pass another folder, or "
            "delete this one to start anew."
        )
    return old


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest with its checksum; the old one stays until the new one is whole."""
    plain = json.loads(json.dumps(manifest, allow_nan=False))
    with replacing(folder / MANIFEST) as unfinished:
        told = {**plain, "checksum": manifest_checksum(plain)}
        unfinished.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    yield from differences(old["model"], new["model"])
    if old["plan"] != new["plan"] or old["row_kind"] != new["row_kind"]:
        yield f"the parts differ ({old['decomposer']} there, {new['decomposer']} here)"
    if old["corpus"] != new["corpus"] or old["columns"] != new["columns"]:
        yield f"the corpus differs ({_corpus(old)} there, {_corpus(new)} here)"
    for name, value in new["settings"].items():
        if old["settings"][name] != value:
            yield f"{name} was {old['settings'][name]!r} and is {value!r}"


def _corpus(manifest: Mapping[str, Any]) -> str:
    return f"{manifest['corpus']['rows']} rows, {manifest['corpus']['fingerprint'][:8]}"


def _part(label: Label) -> PartOf:
    return PartOf(str(label), label.kind, label.layer, label.index, label.head)


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _check_empty(folder: Path) -> None:
    other = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if other:
        raise ValueError(
            f"{str(folder)!r} holds other things ({other[0]!r}) and no sweep. Pass a new folder, or an empty one."
        )

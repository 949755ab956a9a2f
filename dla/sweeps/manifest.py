"""The manifest: what a folder's numbers come from, and whether a call goes on with them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dla.adapters.weights import fingerprint
from dla.attributor import Attributor
from dla.errors import FileFormatError
from dla.labels import Label
from dla.sweeps.corpora import Corpus
from dla.sweeps.fixed import FixedPlan
from dla.sweeps.folder import PartOf, open_sweep
from dla.sweeps.parquet import replacing
from dla.sweeps.schema import FORMAT, MANIFEST
from dla.sweeps.settings import Settings
from dla.version import versions

_SHOWN = 300


def new_manifest(attributor: Attributor, plan: FixedPlan, corpus: Corpus, settings: Settings) -> dict[str, Any]:
    """The manifest of a sweep that has not begun."""
    anatomy = plan.model.anatomy
    dtype = str(anatomy.unembedding.W_U.dtype).removeprefix("torch.")
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "complete": False,
        "model": {"name": anatomy.name, "dtype": dtype, "weights": fingerprint(plan.model)},
        "decomposer": _without_addresses(repr(attributor.decomposer))[:_SHOWN],
        "plan": plan.digest,
        "law": plan.law.value,
        "direction": "logit difference answer - incorrect; the logit of the answer where there is no incorrect",
        "parts": [asdict(_part(label)) for label in plan.labels],
        "corpus": {"fingerprint": corpus.fingerprint(), "rows": corpus.size},
        "columns": list(corpus.columns),
        "settings": asdict(settings),
        "versions": versions(),
        "counts": {"prompts": 0, "rejected": 0, "seconds": 0.0},
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
    try:
        differences = list(_differences(old, new))
    except (KeyError, TypeError) as error:
        raise FileFormatError(f"{str(folder / MANIFEST)!r} is damaged ({error!r}). Pass another folder.") from error
    if differences:
        raise ValueError(
            f"{str(folder)!r} holds a sweep of something else: {'; '.join(differences)}. Pass another folder, or "
            "delete this one to start anew."
        )
    return old


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Writes the manifest; the old one stays until the new one is whole."""
    with replacing(folder / MANIFEST) as unfinished:
        unfinished.write_text(json.dumps(manifest, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    if any(old["model"][key] != new["model"][key] for key in ("weights", "dtype")):
        yield f"the model's weights differ ({_model(old)} there, {_model(new)} here)"
    if old["plan"] != new["plan"] or old["law"] != new["law"]:
        yield f"the parts differ ({old['decomposer']} there, {new['decomposer']} here)"
    if old["corpus"] != new["corpus"] or old["columns"] != new["columns"]:
        yield f"the corpus differs ({_corpus(old)} there, {_corpus(new)} here)"
    for name, value in new["settings"].items():
        if old["settings"][name] != value:
            yield f"{name} was {old['settings'][name]!r} and is {value!r}"


def _model(manifest: Mapping[str, Any]) -> str:
    model = manifest["model"]
    return f"{model['name']}, {model['dtype']}, {model['weights'][:8]}"


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

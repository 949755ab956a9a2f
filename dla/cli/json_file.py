"""An attribution of one prompt at one position as a JSON file."""

import json
from pathlib import Path
from typing import Any

import dla
from dla.views.files import replacing

JSON_FORMAT = "dla.attribution.json/2"


def write_json(result: "dla.Attribution", path: Path) -> None:
    """Writes next to the target and moves into place, so that the file is whole or not there."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(as_json(result), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def as_json(result: "dla.Attribution") -> dict[str, Any]:
    """Everything that the result holds; numbers in logits."""
    provenance = result.provenance
    position = int(result.positions)
    sums = ("total", "constant", "logit", "output_logit", "gap", "tolerance")
    return {
        "format": JSON_FORMAT,
        "model": provenance.model,
        "dtype": provenance.dtype,
        "direction": provenance.direction,
        "decomposer": provenance.decomposer,
        "row_kind": provenance.row_kind,
        "tokens": result.tokens[0],
        "position": position,
        "token": result.tokens[0][position],
        "labels": result.labels,
        "kinds": [part.kind for part in result.parts],
        "layers": [part.layer for part in result.parts],
        "heads": [part.head for part in result.parts],
        "values": result.values.flatten().tolist(),
        **{name: float(getattr(result, name)) for name in sums},
        "versions": dict(provenance.versions),
    }

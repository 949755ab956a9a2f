"""An attribution of one prompt at one position as a JSON file."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

import dla
from dla.views.files import replacing

JSON_FORMAT = "dla.attribution.json/2"
STDOUT = Path("-")
"""What `--json` is given to print JSON and nothing else."""

Document = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write what was found as JSON; - prints it instead of the table."),
]


def result_as_json(result: "dla.Attribution", top: int | None, pushed: "dla.TokenEffects | None") -> str:
    """A result as the document that goes to stdout.

    Args:
        result: The result.
        top: How many rows, the largest of either sign; None for all.
        pushed: The tokens that a part pushes, if they were asked for.
    """
    from dla.views.document import strict_json  # takes seconds

    document = json.loads(result.to_json(top))
    if pushed is not None:
        document["top_tokens"] = json.loads(pushed.to_json())
    return strict_json(document)


def write_document(text: str, path: Path | None) -> bool:
    """Writes a document to a file, or to stdout.

    Args:
        text: The document.
        path: The file; `STDOUT`, or None for nowhere.

    Returns:
        Whether stdout has it, and nothing else should.
    """
    if path == STDOUT:
        typer.echo(text)
    elif path is not None:
        with replacing(path) as unfinished:
            unfinished.write_text(f"{text}\n", encoding="utf-8")
    return path == STDOUT


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

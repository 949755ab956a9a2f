"""What is found, as JSON for programs: one schema for all kinds of results, and for errors."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from dla.inputs.given import count
from dla.labels import Label
from dla.provenance import Provenance, versions
from dla.text import as_text

SCHEMA = "dla.result/1"
"""The name of the schema; a document that breaks it has another number."""


def document(kind: str, **fields: Any) -> dict[str, Any]:
    """A document of the schema.

    Args:
        kind: What it is of, such as "attribution".
        fields: What it holds, as plain values.
    """
    written: dict[str, Any] = _plain({"schema": SCHEMA, "kind": kind, **fields})
    return written


def strict_json(document: dict[str, Any]) -> str:
    """A document as strict JSON."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2)


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of all documents.

    Examples:
        >>> schema()["$id"]
        'dla.result/1'
    """
    read: dict[str, Any] = json.loads(files("dla.views").joinpath("result.schema.json").read_text(encoding="utf-8"))
    return read


def asked(provenance: Provenance) -> dict[str, Any]:
    """What was asked of which model."""
    return {
        "model": provenance.model,
        "dtype": provenance.dtype,
        "decomposer": provenance.decomposer,
        "row_kind": provenance.row_kind,
        "prompts": [list(tokens) for tokens in provenance.tokens],
        "traced": provenance.traced or None,
        "rule": provenance.rule or None,
        "edits": list(provenance.edits),
        "versions": dict(provenance.versions or versions()),
    }


def named(part: Label) -> dict[str, Any]:
    """How a row is called."""
    return {"part": str(part), "kind": part.kind, "layer": part.layer, "head": part.head}


def kept_first(sizes: Sequence[float], top: int | None, ranked: bool = True) -> tuple[list[int], list[int]]:
    """Which rows are written out, and which go into one row for the rest.

    Args:
        sizes: How large each row is, of either sign.
        top: How many are written out; None for all.
        ranked: Whether the largest come first; else they keep their order.
    """
    order = list(range(len(sizes)))
    if ranked:
        order.sort(key=lambda i: -abs(sizes[i]) if math.isfinite(sizes[i]) else 0.0)
    return order[:top], order[len(order) if top is None else top :]


def ranked_rows(
    parts: Sequence[Label],
    columns: Mapping[str, Sequence[float]],
    by: str,
    top: int | None,
    more: Callable[[int], Mapping[str, Any]] = lambda _: {},
) -> dict[str, Any]:
    """Rows with several numbers each, and one row for the rest.

    Args:
        parts: The labels.
        columns: The numbers of all rows, by name.
        by: The column by which rows are ranked, largest of either sign first, and of which the rest is the sum.
        top: How many are written out; None for all.
        more: What else is told of a row, by its place.
    """
    kept, left = kept_first(columns[by], top)
    return {
        "rows": [{**named(parts[i]), **{name: column[i] for name, column in columns.items()}, **more(i)} for i in kept],
        "rest": {"rows": len(left), "sum": sum(value for i in left if math.isfinite(value := columns[by][i]))},
    }


def rows_written(top: object) -> int | None:
    """How many rows are written out, checked.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is negative.
    """
    return None if top is None else count(top, "top", "rows", least=0)


def _plain(value: Any) -> Any:
    """What JSON can hold: NaN and infinity are null, and no text is a command to who prints it."""
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, dict):
        return {as_text(str(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""An attribution with coarser rows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dla.decomposers.groups import Grouping, Renaming, Selector, check_groups, named_groups, rule_of, rule_of_function
from dla.decomposers.rows import RowKind, Rows, unique_labels
from dla.decomposers.spans import SpanGrouping, span_reduction
from dla.inputs.prompts import Prompts, unknown_prompts
from dla.inputs.spans import Spans
from dla.inputs.vocabulary import Vocabulary
from dla.labels import Label
from dla.results.attributed import AttributedRows
from dla.results.rerun import Rerun

if TYPE_CHECKING:
    Key = str | Mapping[str, Selector] | Renaming | None
else:  # a type checker at run time would refuse a wrong key before `rule_of_function` can explain what is wrong
    Key = object


def grouped(result: AttributedRows, key: Key, rerun: Rerun | None) -> dict[str, Any]:
    """The fields that an attribution has with its rows in groups.

    Args:
        result: The attribution.
        key: The groups, as `Attribution.group_by` takes them.
        rerun: Where the attribution comes from; None in one read from a file.

    Raises:
        TypeError: If the key is none of these, or a function gives something else than a label.
        ValueError: If the rows do not add up, a group has no row, or a row belongs to two groups.
    """
    parts = _additive(result)
    if isinstance(key, str):
        rule = rule_of(key, parts)
    else:
        rule = named_groups(key) if isinstance(key, Mapping) else rule_of_function(key)
    rows = Grouping(rule)(Rows(parts, result.values))
    if isinstance(key, Mapping):
        check_groups(key, parts)
    return {
        "parts": unique_labels(rows.labels, "group_by"),
        "values": rows.values,
        "rerun": None if rerun is None else rerun.coarser(rule),
    }


def over_spans(result: AttributedRows, spans: Spans, rerun: Rerun | None) -> dict[str, Any]:
    """The fields that an attribution has with its rows by source added up over spans of the prompts.

    Args:
        result: The attribution.
        spans: The spans, as `SourceDecomposer` takes them.
        rerun: Where the attribution comes from; None in one read from a file.

    Raises:
        TypeError: If a span is none.
        ValueError: If no row comes from a position, or a span is not in its prompt.
    """
    parts, provenance = _additive(result), result.provenance
    if all(label.source is None for label in parts):
        raise ValueError(
            "No row comes from a position of the prompt, so none belongs to a span. Attribute with "
            "dla.SourceDecomposer(), or refine a head by it first."
        )
    reduction = span_reduction(spans)
    axis = 1 + provenance.dims.index("batch") if "batch" in provenance.dims else None
    resolved = reduction.resolve(_prompts_of(result) if rerun is None else rerun.query.prompts)
    assert isinstance(resolved, SpanGrouping)
    rows = replace(resolved, axis=axis)(Rows(parts, result.values))
    return {
        "parts": unique_labels(rows.labels, "group_by"),
        "values": rows.values,
        "rerun": None if rerun is None else rerun.over_spans(reduction),
    }


def _additive(result: AttributedRows) -> tuple[Label, ...]:
    row_kind = result.provenance.row_kind
    if row_kind != RowKind.ADDITIVE.value:
        raise ValueError(f"The rows are {row_kind}; they do not add up, so they cannot be grouped.")
    return result.parts


def _prompts_of(result: AttributedRows) -> Prompts:
    """The prompts of a result without its model, of which only the lengths are known."""
    lengths = tuple(map(len, result.provenance.tokens))
    if not lengths:
        raise ValueError("The prompts are not known, so their spans are not either. Attribute again with the prompts.")
    return replace(unknown_prompts(len(lengths), max(lengths), Vocabulary(0, 0)), lengths=lengths)

"""An attribution with coarser rows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dla.decomposers.groups import Grouping, Renaming, Selector, check_groups, named_groups, rule_of, rule_of_function
from dla.decomposers.plans import RowKind, Rows, unique_labels
from dla.results.attributed import AttributedRows
from dla.results.rerun import Rerun

if TYPE_CHECKING:
    Key = str | Mapping[str, Selector] | Renaming
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
    row_kind, parts = result.provenance.row_kind, result.parts
    if row_kind != RowKind.ADDITIVE.value:
        raise ValueError(f"The rows are {row_kind}; they do not add up, so they cannot be grouped.")
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

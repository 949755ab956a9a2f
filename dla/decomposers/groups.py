"""Groups: named sets of rows, chosen by their labels."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import final

import torch

from dla.decomposers.rows import GROUP, Rows, added_up
from dla.decomposers.spans import SPAN
from dla.inputs.arguments import name, truth
from dla.inputs.given import items, shown
from dla.labels import Label
from dla.text import some_of

Selector = str | re.Pattern[str] | Collection[str] | Callable[[Label], bool]
"""Which rows: a label, a regular expression that matches all of a label, several labels, or a function."""

Renaming = Callable[[Label], Label]
"""The label of the group that a row belongs to; the row's own label if it belongs to none."""


_SUCH_AS = "{'name movers': ['L9H6', 'L9H9']}"


@final
class Grouping:
    """Adds up the rows of each group; rows of no group stay as they are."""

    prompts = 1
    """How many prompts there are whose rules differ."""

    def __init__(self, renamed: Renaming) -> None:
        """Keeps the rule."""
        self._renamed = renamed

    def rule(self, prompt: int) -> Renaming:
        """The label of the row that a row belongs to; the same in all prompts."""
        return self._renamed

    def __call__(self, rows: Rows) -> Rows:
        return added_up(Rows([self._renamed(label) for label in rows.labels], rows.values))


def named_groups(groups: Mapping[str, Selector]) -> Renaming:
    """The rule for named sets of rows.

    Args:
        groups: Which rows belong to each name.

    Raises:
        TypeError: If a group does not say which rows are in it.
        ValueError: If there is no group; later, if a row belongs to two.
    """
    if not isinstance(groups, Mapping):
        raise TypeError(f"The groups are {shown(groups)}. Pass a dict, such as {_SUCH_AS}.")
    if not groups:
        raise ValueError(f"No group was given. Pass at least one, such as {_SUCH_AS}.")
    tests = {name(group, "A group"): _test(selector) for group, selector in groups.items()}

    def renamed(label: Label) -> Label:
        names = [group for group, belongs in tests.items() if belongs(label)]
        if len(names) > 1:
            raise ValueError(
                f"{shown(str(label))} is in the groups {shown(names[0])} and {shown(names[1])}. Put every row into one."
            )
        return Label(GROUP, text=names[0]) if names else label

    return renamed


def check_groups(groups: Mapping[str, Selector], labels: Sequence[Label]) -> None:
    """Checks that each group has a row, and that each label in a list is a row.

    Args:
        groups: The groups.
        labels: The rows before they are grouped.

    Raises:
        ValueError: If a group has no row, lists a label that is not a row, or a row is in two groups.
    """
    texts, some, renamed = set(map(str, labels)), some_of(labels), named_groups(groups)
    for label in labels:
        renamed(label)  # raises where the row is in two groups
    for group, selector in groups.items():
        if not any(map(_test(selector), labels)):
            raise ValueError(
                f"The group {shown(group)} has no row; the rows are {some}. Leave it out, or mend it.{_hint(selector)}"
            )
        members = [] if isinstance(selector, str | re.Pattern) or callable(selector) else list(selector)
        missing = [label for label in members if label not in texts]
        if missing:
            raise ValueError(
                f"The group {shown(group)} lists {shown(missing[0])}, and there is no such row; they are {some}."
            )


def rule_of_function(rule: object) -> Renaming:
    """A function of the user's as a rule.

    Raises:
        TypeError: If it is not a function; later, if it returns something else than a label.
    """
    if not callable(rule) or isinstance(rule, type | torch.nn.Module):
        raise TypeError(f"There is no grouping {shown(rule)}. Pass one of {list(GROUPINGS)}, a dict, or a function.")

    def renamed(label: Label) -> Label:
        group = rule(label)
        if not isinstance(group, Label):
            raise TypeError(
                f"The function gave {shown(group)} for {shown(str(label))}. It must give the label of a group, such as "
                f"Label('group', text='early'), or for a row of no group the row's own."
            )
        return group

    return renamed


def rule_of(word: str, labels: Sequence[Label]) -> Renaming:
    """The rule of a grouping by name.

    Args:
        word: One of `GROUPINGS`.
        labels: The rows.

    Raises:
        ValueError: If there is no such grouping.
    """
    if word not in GROUPINGS:
        raise ValueError(f"There is no grouping {shown(word)}. Pass one of {list(GROUPINGS)}, a dict, or a function.")
    if word != "parent":
        return {"layer": _layer, "kind": _kind, "component": _component, "source": _source}[word]
    # Only the finest rows are joined: the sources of a head, say, and not the heads of other layers next to them.
    deepest = max(_depth(label) for label in labels)
    return lambda label: (label.parent or label) if _depth(label) == deepest else label


GROUPINGS = ("layer", "kind", "parent", "component", "source")
"""By what rows may be grouped."""


def _layer(label: Label) -> Label:
    return label if label.layer is None else Label(GROUP, label.layer, text=f"layer {label.layer}")


def _kind(label: Label) -> Label:
    return Label(GROUP, text=label.kind)


def _source(label: Label) -> Label:
    """All that is read from one position or span, whatever head reads it; what is read is behind the arrow."""
    if label.source is None and label.kind != SPAN:
        return label
    return Label(GROUP, source=label.source, text=f"← {str(label).partition('← ')[2] or label.source}")


def _component(label: Label) -> Label:
    path = list(label.path())
    return path[-2] if len(path) > 1 and path[-1].kind == "block" else path[-1]


def _depth(label: Label) -> int:
    return sum(1 for _ in label.path())


def _test(selector: object) -> Callable[[Label], bool]:
    if isinstance(selector, str):
        return lambda label: str(label) == selector
    if isinstance(selector, re.Pattern):
        return lambda label: selector.fullmatch(str(label)) is not None
    if callable(selector) and not isinstance(selector, type | torch.nn.Module):
        return lambda label: truth(selector(label), f"The function of a group for {shown(str(label))}")
    several = list(selector) if isinstance(selector, set | frozenset) else items(selector)
    if several is None or not all(isinstance(one, str) for one in several):
        raise TypeError(
            f"{shown(selector)} does not say which rows are in a group. Pass a label, several labels, a regular "
            "expression, or a function that says of a label whether it is."
        )
    wanted = frozenset(several)
    return lambda label: str(label) in wanted


def _hint(selector: Selector) -> str:
    """How a group that matches no row may have been meant."""
    if isinstance(selector, str):
        return f" A text is one whole label; all labels that begin with it are re.compile({shown(selector + '.*')})."
    if isinstance(selector, re.Pattern):
        return " A regular expression has to match the whole label."
    return ""

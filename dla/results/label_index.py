"""Choosing parts by what their labels say, for `select` and whatever asks for one part."""

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, final

from dla.inputs.arguments import function, truth
from dla.inputs.given import items, shown, whole_number
from dla.labels import Label
from dla.text import some_of

if TYPE_CHECKING:
    OneLabel = str | Label
    Labels = OneLabel | Sequence[OneLabel] | None
    Kind = str | None
    Layer = int | None
else:  # what is passed is looked at here, and a sentence says what is wrong with it
    OneLabel = Labels = Kind = Layer = object


_COMPARED = 200
"""How many characters of a label that is not there are compared with those that are."""

_TOKEN = re.compile(r" ['\"]")
"""Where the token begins in the label of a source."""


def one_label(label: object) -> str:
    """A label as text, checked.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(label, str | Label):
        raise TypeError(
            f"{shown(label)} is not a label. Pass one, as written in `labels`, such as 'L1H1'; select takes several."
        )
    return str(label)


@final
class LabelIndex:
    """Where each part is. An arrow may be written `<-`, and the token after a source's position be left out."""

    def __init__(self, labels: Sequence[str], others: Sequence[str] = ()) -> None:
        """Looks at every label once, however many are asked for.

        Args:
            labels: The parts'.
            others: What may be asked for as well; they come after the parts.
        """
        self._labels, self._known = labels, [*labels, *others]
        self._places = {label: i for i, label in reversed([*enumerate(self._known)])}
        for i, label in enumerate(labels):
            self._places.setdefault(_TOKEN.split(label, maxsplit=1)[0], i)

    def __call__(self, label: object) -> int:
        """The place.

        Raises:
            TypeError: If it is no label.
            ValueError: If there is no such part.
        """
        wanted = one_label(label).replace("<-", "←")
        if wanted not in self._places:
            raise no_part(wanted, self._labels, self._known)
        return self._places[wanted]


def places_of(label: object, labels: Sequence[str]) -> list[int]:
    """Where one or several parts are.

    Args:
        label: A label or several.
        labels: Those of all parts.

    Raises:
        TypeError: If one is no label.
        ValueError: If there is no such part, or none is named.
    """
    place = LabelIndex(labels)
    return list(dict.fromkeys(map(place, _labels(label))))


def no_part(label: str, labels: Sequence[str], known: Sequence[str]) -> ValueError:
    """The error about a label that does not exist.

    Args:
        label: The label.
        labels: The parts that are there.
        known: What else it may have been meant to be as well.
    """
    close = get_close_matches(label[:_COMPARED], known, 3)
    likely = f" Close to it: {some_of(close)}." if close else ""
    return ValueError(f"There is no part {shown(label)}; the parts are {some_of(labels)} (see `labels`).{likely}")


def place_of_direction(name: object, names: Sequence[str]) -> int:
    """Where a direction is.

    Args:
        name: Its name.
        names: Those of all.

    Raises:
        ValueError: If none is called so.
    """
    if not isinstance(name, str) or name not in names:
        there = f"there are [{some_of(map(repr, names), 20)}]" if names else "one was asked for alone"
        raise ValueError(f"There is no direction {shown(name)}; {there}.")
    return names.index(name)


def chosen(parts: Sequence[Any], asked: Mapping[str, object], place: Callable[[str], int], where: Any) -> list[int]:
    """Where the parts are that fit all that is asked.

    Args:
        parts: The parts, each with a `kind` and a `layer`.
        asked: The `label`, `kind` and `layer` that are asked for; None for any.
        place: Where the part with a label is.
        where: Says of each part whether it fits.

    Raises:
        TypeError: If something else is asked for than a label, a kind, a layer and a function.
        ValueError: If no part fits, or a label does not exist.
    """
    _check(asked, where)
    places = None if asked["label"] is None else {place(label) for label in _labels(asked["label"])}
    layer = whole_number(asked["layer"])
    found = [
        i
        for i, part in enumerate(parts)
        if (places is None or i in places)
        and (asked["kind"] is None or part.kind == asked["kind"])
        and (layer is None or part.layer == layer)
        and (where is None or truth(where(part), f"`where` for {shown(str(part))}"))
    ]
    if not found:
        told = [f"{name}={shown(value)}" for name, value in asked.items() if value is not None]
        told += [] if where is None else ["the function `where`"]
        kinds = some_of(sorted({part.kind for part in parts}), 20)
        raise ValueError(f"No part matches {' and '.join(told)}; the kinds here are {kinds}.")
    return found


def _labels(label: object) -> list[str]:
    several = list(label) if isinstance(label, set | frozenset) else items(label)
    if several == []:
        raise ValueError(f"label={shown(label)} names no part. Pass at least one label, or leave it out for all.")
    return [one_label(one) for one in ([label] if several is None else several)]


def _check(asked: Mapping[str, object], where: object) -> None:
    kind, layer = asked["kind"], asked["layer"]
    if kind is not None and not isinstance(kind, str):
        raise TypeError(f"kind={shown(kind)} is not a kind. Pass one, such as 'head'; for several use where=...")
    if layer is not None and whole_number(layer) is None:
        raise TypeError(f"layer={shown(layer)} is not a layer. Pass its number, such as 1; for several use where=...")
    if where is not None:
        function(where, "where", "one that says of a label whether to keep it")

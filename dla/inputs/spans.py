"""Named spans of prompts: a text, a range of positions, or a list of them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final
from weakref import WeakKeyDictionary

from dla.inputs.given import items, shown, whole_number
from dla.inputs.prompts import Prompts
from dla.inputs.span_texts import Span, positions_of_text

if TYPE_CHECKING:
    Place = str | Span | int | range | slice | Sequence[int]
    Spans = Mapping[str, Place | Sequence[Place | None]] | Sequence[str]
else:  # what is passed is looked at here, and a sentence says what is wrong with it
    Place = Spans = object

REST = "rest"
"""The name of what is in no span."""

_SUCH_AS = "{'subject': ' Eiffel Tower'}"
_TAKEN = re.compile(r"rest|b_V|\d+( .*)?", re.DOTALL)
"""Names that would be read as something else: the other rows of a head, and positions."""


@final
@dataclass(frozen=True)
class EachPrompt:
    """A place for each prompt; None where it has none."""

    places: tuple[Any, ...]


def read_spans(spans: object) -> Mapping[str, Any]:
    """Spans, checked: for each name its place, or an `EachPrompt`; None where only the names are given.

    Raises:
        TypeError: If they are neither a dict of places nor a list of names.
        ValueError: If there is none, or a name would be read as something else.
    """
    names = None if isinstance(spans, Mapping) else items(spans)
    if not isinstance(spans, Mapping) and names is None:
        raise TypeError(f"The spans are {shown(spans)}. Pass a dict of places, such as {_SUCH_AS}.")
    given: Mapping[Any, Any] = spans if isinstance(spans, Mapping) else dict.fromkeys(names or ())
    if not given:
        raise ValueError(f"No span was given. Pass at least one, such as {_SUCH_AS}.")
    for name in given:
        if not isinstance(name, str) or not name:
            raise TypeError(f"{shown(name)} is not the name of a span. Pass a text, such as 'subject'.")
        if _TAKEN.fullmatch(name) or "←" in name:
            raise ValueError(f"A span cannot be called {shown(name)}, which names another row. Pass another name.")
    if names is not None and len(given) < len(names):
        raise ValueError(f"The spans {shown(spans)} name one twice. Give every span a name of its own.")
    return {name: None if names is not None else _read(name, place) for name, place in given.items()}


@final
@dataclass(frozen=True)
class SpanPlaces:
    """Where the spans of some prompts are.

    Attributes:
        names: The names of the spans.
        positions: For each prompt, and each name, its positions; none where the prompt has no such span.
    """

    names: tuple[str, ...]
    positions: tuple[tuple[tuple[int, ...], ...], ...]

    @staticmethod
    def of(spans: Spans, prompts: Prompts) -> "SpanPlaces":
        """The places of spans in prompts.

        Args:
            spans: For each name a place: a text or a `Span`, which is looked for in the prompt and not in what is asked
                about behind it; a position, a range, a slice or a list of positions; or a list with one of these for
                each prompt, None where it has none. Names alone are those of the prompts' own spans.
            prompts: The prompts.

        Raises:
            TypeError: If they are none of these.
            ValueError: If a span is not in its prompt, is there several times, cuts a token, or two overlap; or if
                there are not as many as prompts.
        """
        read = read_spans(spans)
        found = []
        for i in range(prompts.batch):
            places = [_positions(place, name, prompts, i) for name, place in read.items()]
            _check_apart(tuple(read), places, prompts, i)
            found.append(tuple(places))
        return SpanPlaces(tuple(read), tuple(found))

    @property
    def rows(self) -> tuple[str, ...]:
        """The names of the rows: those of the spans, and that of all other positions."""
        return (*self.names, REST)

    def members(self, width: int) -> list[list[int]]:
        """Which of `rows` each of the first `width` positions of each prompt belongs to."""
        found = [[len(self.names)] * width for _ in self.positions]
        for own, places in zip(found, self.positions, strict=True):
            for name, positions in enumerate(places):
                for position in positions:
                    own[position] = name
        return found


def locator(spans: Spans) -> Callable[[Prompts], SpanPlaces]:
    """Finds spans in prompts, once for the same prompts: every layer of a model asks."""
    known: WeakKeyDictionary[Prompts, SpanPlaces] = WeakKeyDictionary()

    def located(prompts: Prompts) -> SpanPlaces:
        if prompts not in known:
            known[prompts] = SpanPlaces.of(spans, prompts)
        return known[prompts]

    return located


def _read(name: str, place: object) -> Any:
    """One place, or one for each prompt, checked for its kind."""
    if isinstance(place, str | Span | range | slice) or whole_number(place) is not None:
        return place
    several = items(place)
    if several is None:
        raise TypeError(
            f"The span {name!r} is {shown(place)}. Pass a text, positions (a range or a list), or one for each prompt."
        )
    if all(whole_number(one) is not None for one in several):
        return tuple(several)
    return EachPrompt(tuple(None if one is None else _read(name, one) for one in several))


def _positions(place: Any, name: str, prompts: Prompts, i: int) -> tuple[int, ...]:
    """The positions of a span in one prompt; none where it has no such span."""
    if name in prompts.spans:
        return prompts.spans[name][i]
    if place is None:
        raise ValueError(
            f"The span {name!r} is only named, and these prompts come without spans: names alone are the columns of a "
            f"corpus that is swept. Say where it is: spans={{{name!r}: ' the words'}}."
        )
    if isinstance(place, EachPrompt):
        number, batch = (i, prompts.batch) if prompts.one_of is None else prompts.one_of
        if len(place.places) != batch:
            raise ValueError(
                f"The span {name!r} has {len(place.places)} places for {batch} prompts. Pass one for each, None where "
                "a prompt has none."
            )
        place = place.places[number]
        if place is None:
            return ()
    return place_of_prompt(place, prompts, i, f"The span {name!r}")


def place_of_prompt(place: Any, prompts: Prompts, i: int, what: str) -> tuple[int, ...]:
    """The positions of one place in one prompt.

    Args:
        place: A text, a `Span`, a position, a range, a slice or a list of positions.
        prompts: The prompts.
        i: Which of them.
        what: What an error calls the span.

    Raises:
        TypeError: If the place is none.
        ValueError: If it is not in the prompt.
    """
    length = prompts.lengths[i]
    if isinstance(place, str | Span):
        span = place if isinstance(place, Span) else Span(place)
        return positions_of_text(span, prompts, i, what)
    given = range(*place.indices(length)) if isinstance(place, slice) else place
    several = [given] if whole_number(given) is not None else list(given)
    found = []
    for one in several:
        position = whole_number(one)
        if position is None or not -length <= position < length:
            raise ValueError(
                f"{what} holds {shown(one)}, which is no position of prompt {i}, of {length} tokens (from {-length} to "
                f"{length - 1})."
            )
        found.append(position % length)
    if not found:
        raise ValueError(f"{what} holds no position of prompt {i}. Pass at least one, or None for a prompt without it.")
    return tuple(sorted(set(found)))


def _check_apart(names: Sequence[str], places: Sequence[Sequence[int]], prompts: Prompts, i: int) -> None:
    owner: dict[int, str] = {}
    for name, positions in zip(names, places, strict=True):
        for position in positions:
            other = owner.setdefault(position, name)
            if other != name:
                token = f", {prompts.vocabulary.text(int(prompts.tokens[i, position]))!r}" if prompts.known else ""
                raise ValueError(
                    f"The spans {other!r} and {name!r} overlap: both hold position {position}{token} of prompt {i}. "
                    "Give every token to one of them."
                )

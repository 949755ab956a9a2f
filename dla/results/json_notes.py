"""What the JSON of a result says beside its rows: what to know before it is believed, and what the model answers."""

from collections.abc import Sequence
from math import exp
from typing import Any

from dla.decomposers.rows import RowKind
from dla.errors import RunChangedError
from dla.inputs.arguments import flag
from dla.provenance import Saying
from dla.results.answers import Answers
from dla.results.attributed import AttributedRows
from dla.results.caveats import Caveats


def notes_of(result: AttributedRows, caveats: object) -> dict[str, Any]:
    """Caveats in words, and the answers.

    Args:
        result: The result.
        caveats: Whether to run the model for the caveats, where they can be asked for.

    Raises:
        TypeError: If `caveats` is not True, False or None.
    """
    return {"caveats": _caveats(result) if flag(caveats, "caveats", "False") else None, "answers": _answers(result)}


def _caveats(result: AttributedRows) -> list[str] | None:
    """The sentences; None where nothing can be asked."""
    provenance = result.provenance
    if result.rerun is None or result.directions or provenance.row_kind != RowKind.ADDITIVE.value:
        return None
    try:
        return list(Caveats.of(result, result.rerun, None).sentences)
    except RunChangedError as error:  # what cannot be told must not hide what was found
        return [str(error)]
    except ValueError:  # a trace, of which nothing is unembedded
        return None


def _answers(result: AttributedRows) -> list[dict[str, Any]] | None:
    """What the model says at each place; None where that was not looked at."""
    if not result.provenance.first:
        return None
    found = Answers.of(result)
    return [
        {"place": place, "asked": _sayings(own), "first": _sayings(first)}
        for place, own, first in zip(found.places, found.asked, found.first, strict=True)
    ]


def _sayings(several: Sequence[Saying]) -> list[dict[str, Any]]:
    return [
        {"token": token, "probability": exp(log), "log_probability": log, "rank": rank} for token, log, rank in several
    ]

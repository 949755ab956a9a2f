"""`dla attribute`: one prompt on a model that the user names."""

from pathlib import Path

from rich.console import Console

from dla.adapters.loading import load_model
from dla.attributor import Attributor
from dla.cli.json_file import write_json
from dla.cli.quiet import loading, notes_in_a_line
from dla.cli.targets import check_option
from dla.direct import UNITS
from dla.directions import Direction, Logit, LogitDifference
from dla.inputs.vocabulary import Vocabulary
from dla.results.attribution import ROWS_SHOWN, Attribution


def show_attribution(
    model: str,
    prompt: str,
    answer: str,
    incorrect: str | None,
    unit: str,
    pos: int,
    top: int | None,
    prepend_bos: bool | None,
    json: Path | None,
) -> None:
    """Loads the model, attributes, prints the table and writes the file.

    Args:
        model: A folder, or the name of a hub model.
        prompt: The text to run it on.
        answer: The token, as text or as `id:464`.
        incorrect: The token to compare with, or None.
        unit: One of `UNITS`.
        pos: The position.
        top: How many rows to show at each end; None for as many as are usually shown.
        prepend_bos: Whether to put the BOS token in front; None as the model does by default.
        json: Where to write the whole result, or None.

    Raises:
        ValueError: If an argument does not fit the others, the model or the file system.
        DLAError: If the model cannot be loaded or attributed.
    """
    if top is not None and unit == "layer":
        raise ValueError("--top chooses among parts that add up; the rows of 'layer' are a sequence. Leave it out.")
    check_option("--json", json, ".json", "JSON")
    with loading(f"loading {model}"):
        attributor = Attributor(load_model(model), UNITS[unit]())
    direction = _direction(answer, incorrect, attributor.model.vocabulary)
    with notes_in_a_line():
        result = attributor.attribute(prompt, direction, pos=pos, prepend_bos=prepend_bos)
    console = Console()
    console.print(_heading(model, result), highlight=False, markup=False)
    console.print(result.table(ROWS_SHOWN if top is None else top))
    if json is not None:
        write_json(result, json)


def _direction(answer: str, incorrect: str | None, vocabulary: Vocabulary) -> Direction:
    if incorrect is None:
        return Logit(_token(answer, vocabulary))
    return LogitDifference(_token(answer, vocabulary), _token(incorrect, vocabulary))


def _token(token: str, vocabulary: Vocabulary) -> str | int:
    """Its text, or its id where that is what was written."""
    marked, _, number = token.partition("id:")
    if marked or not token:
        return token
    if number.isdecimal():
        return int(number)
    try:
        return vocabulary.token(token)
    except ValueError:
        raise ValueError(
            f"{token!r} is not a token, and {number!r} is not an id, which is a whole number. Write id:464, or the "
            "token's text."
        ) from None


def _heading(model: str, result: Attribution) -> str:
    position = int(result.positions)
    return f"{model}, at token {position} of the prompt ({result.tokens[0][position]!r})\n"

"""Attributions read from files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dla.errors import FileFormatError
from dla.inputs.arguments import file_path
from dla.results.attribution import Attribution
from dla.results.outputs import TENSORS
from dla.results.question import Question
from dla.results.sums import adds_up
from dla.text import as_text
from dla.views.dataset import COORDINATES, DATASET_FORMAT, OLDER_FORMAT, QUESTION, from_dataset
from dla.views.files import read_dataset

if TYPE_CHECKING:
    import xarray


def read_attribution(path: str | Path) -> Attribution:
    """Reads an attribution that `Attribution.save` wrote, and proves again that its rows add up.

    It says what was asked of which model, and does not have that model.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If `path` is no path.
        FileFormatError: If the file is not one of ours, was cut short or edited, or its rows do not add up any more.
    """
    path = file_path(path, "the file")
    data = read_dataset(path, {*COORDINATES, *TENSORS}, DATASET_FORMAT, OLDER_FORMAT)
    try:
        return _proven(data)
    except (KeyError, ValueError) as error:
        raise FileFormatError(
            f"{str(path)!r} is not an attribution saved by this library, or was edited "
            f"({as_text(str(error))}). Save it again."
        ) from error


def _proven(data: "xarray.Dataset") -> Attribution:
    parts, tensors, provenance = from_dataset(data, TENSORS)
    fields: dict[str, Any] = {**tensors}
    gap = fields.pop("gap")
    asked = str(data[QUESTION].values) if QUESTION in data else ""
    question = Question.from_text(asked) if asked else None
    result = Attribution(parts=parts, provenance=provenance, question=question, **fields)
    if adds_up(result.values, result.total, result.tolerance, provenance.row_kind) != bool(data.attrs["whole"]):
        raise ValueError("its rows do not make their total as they did when it was saved")
    if bool(((gap - result.gap).abs() > result.tolerance).any()):
        raise ValueError("its gap is not what its logit, total and constant leave")
    return result

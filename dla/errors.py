"""Errors and warnings of this library; wrong arguments are `ValueError` and `TypeError`."""

import sys
import warnings
from typing import ClassVar


class DLAError(Exception):
    """Base class of the library's own errors.

    Attributes:
        code: A stable name of what went wrong, for programs; each class has its own.
    """

    code: ClassVar[str] = "dla_error"


class DLAWarning(UserWarning):
    """Base class of the library's own warnings.

    Attributes:
        code: A stable name of what it warns about, for programs; each class has its own.
    """

    code: ClassVar[str] = "dla_warning"


class UnsupportedModelError(DLAError):
    """The model, or a part of it, cannot be attributed exactly. Says why, and what to do."""

    code: ClassVar[str] = "unsupported_model"


class ReconstructionError(DLAError):
    """The rows and the constant do not sum to the logit that the model itself computed."""

    code: ClassVar[str] = "rows_do_not_add_up"


class RunChangedError(DLAError):
    """A question about the run that a result came from, when the model no longer runs like that."""

    code: ClassVar[str] = "run_changed"


class ReconstructionWarning(DLAWarning):
    """As `ReconstructionError`, where the user chose a warning."""

    code: ClassVar[str] = "rows_do_not_add_up"


class ModelMismatchWarning(DLAWarning):
    """The model that runs is not the checkpoint that it was made from; an attribution is exact for what runs."""

    code: ClassVar[str] = "model_mismatch"


class CoarseDecompositionWarning(DLAWarning):
    """Rows are coarser than asked: no pieces are known to add up to a sublayer. Names the sublayers, and why."""

    code: ClassVar[str] = "coarse_decomposition"


class PromptWarning(DLAWarning):
    """The model may read something else than was meant: words that it does not know, a second BOS token."""

    code: ClassVar[str] = "prompt"


class MissingPackageError(DLAError, ImportError):
    """An optional package is not installed. Names the extra that brings it."""

    code: ClassVar[str] = "missing_package"


class FileFormatError(DLAError):
    """A file was not written by this library, or was cut short."""

    code: ClassVar[str] = "file_format"


class SweepWarning(UserWarning):
    """Rows of a corpus were rejected, or hold words that the model does not know. Says how many, why and where."""

    code: ClassVar[str] = "sweep"


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warns about the line of the user's that called the library."""
    # Not a fixed `stacklevel`: type checkers put frames of their own between, and as many as they like.
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _INSIDE:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level + 1)


_INSIDE = ("dla", "jaxtyping", "beartype")  # packages whose frames are skipped

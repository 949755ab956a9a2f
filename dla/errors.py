"""What only this library can know to be wrong; wrong arguments are `ValueError` and `TypeError`."""

import sys
import warnings


class DLAError(Exception):
    """Base class of the library's own errors."""


class DLAWarning(UserWarning):
    """Base class of the library's own warnings."""


class UnsupportedModelError(DLAError):
    """The model, or a part of it that was asked for, cannot be attributed exactly. Says why, and what to do."""


class ReconstructionError(DLAError):
    """The parts, with the constant, miss the logit that the model itself computed."""


class RunChangedError(DLAError):
    """A result was asked more about the run that it came from, and the model does not run like that any more."""


class ReconstructionWarning(DLAWarning):
    """The same finding as `ReconstructionError`, where the user asked for a warning."""


class ModelMismatchWarning(DLAWarning):
    """The model that runs is not the checkpoint that it was made from; an attribution is exact for what runs."""


class CoarseDecompositionWarning(DLAWarning):
    """Rows are coarser than was asked: a sublayer has no pieces that are known to add up to it. Names them, and why."""


class PromptWarning(DLAWarning):
    """What the model reads may not be what was meant: words that it does not know, a second BOS token."""


class MissingPackageError(DLAError, ImportError):
    """An optional package is not installed. Names the extra that brings it."""


class FileFormatError(DLAError):
    """A file was not written by this library, or was cut short."""


class SweepWarning(UserWarning):
    """Rows of a corpus were rejected, or hold words that the model does not know. Says how many, why, and where."""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warns about the line that called the library, however many frames of type checkers lie between."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _INSIDE:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level + 1)


_INSIDE = ("dla", "jaxtyping", "beartype")

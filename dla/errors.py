"""What only this library can know to be wrong. Wrong arguments are `ValueError` and `TypeError`."""


class DLAError(Exception):
    """Base class of the library's own errors."""


class UnsupportedModelError(DLAError):
    """The model, or a part of it that was asked for, cannot be attributed exactly. Says why, and what to do."""


class ReconstructionError(DLAError):
    """The parts, with the constant, miss the logit that the model itself computed."""


class ReconstructionWarning(UserWarning):
    """The same finding as `ReconstructionError`, where the user asked for a warning."""


class ModelDepartureWarning(UserWarning):
    """The model that runs is not the checkpoint that it was made from; an attribution is exact for what runs."""


class FileFormatError(DLAError):
    """A file was not written by this library, or was cut short."""

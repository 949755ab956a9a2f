"""The interface of a decomposition."""

import abc
import enum
from collections.abc import Sequence

from dla.adapters.base import ModelAdapter
from dla.writes import Write


class Law(enum.Enum):
    """What the rows of a decomposition have to do with the total."""

    PARTITION = "partition"
    """The rows add up to the total."""

    TRAJECTORY = "trajectory"
    """The rows follow the stream as it grows; the last row is the total."""


class Decomposer(abc.ABC):
    """A way to split the residual stream that enters the final norm.

    Law: for a partition, the parts of `writes(model)` add up to that stream exactly; nothing is left over, and no
    part is defined as what the others leave. For a trajectory, the last part is that stream.
    """

    law: Law = Law.PARTITION

    @abc.abstractmethod
    def writes(self, model: ModelAdapter) -> Sequence[Write]:
        """The plan: what to read, which parts it holds, how each reaches the stream. Runs nothing."""

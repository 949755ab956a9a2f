"""What of a sublayer is shown somewhere, and how a direction on it is pulled back to what the sublayer read."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from dla.adapters.reads import StreamEntry
from dla.engine.frozen import FrozenRun
from dla.engine.pull_back import PulledBack
from dla.engine.rules import Rule
from dla.errors import UnsupportedModelError
from dla.writes import Site


class Shown(abc.ABC):
    """What a site shows of a sublayer, with a way back to the stream.

    Law: `direction · (what the site shows)` is `measured` of what `pulled_back` gives, summed over all positions, up to
    a constant that the direction reads where the row was written.

    Attributes:
        name: The sublayer's label as text.
    """

    name: str

    @property
    @abc.abstractmethod
    def entry(self) -> StreamEntry:
        """Where the sublayer reads the stream.

        Raises:
            UnsupportedModelError: If it is not known what it reads.
        """

    @property
    @abc.abstractmethod
    def sites(self) -> Sequence[Site]:
        """Every site that `pulled_back` needs."""

    @abc.abstractmethod
    def pulled_back(self, direction: Float[Tensor, "batch pos *made"], rule: Rule | None, run: FrozenRun) -> PulledBack:
        """A direction on what the site shows, as one on the stream that the sublayer reads.

        Raises:
            UnsupportedModelError: If it is not known what it reads.
            TypeError: If the rule is none.
            ValueError: If the rule does not fit the MLP.
        """


@final
@dataclass(frozen=True, eq=False)
class NotTraced(Shown):
    """Something of a sublayer through which no direction is pulled back.

    Attributes:
        why: The reason, as a clause.
    """

    name: str
    why: str

    @property
    def entry(self) -> StreamEntry:
        raise UnsupportedModelError(
            f"{self.name} cannot be traced: {self.why}. Trace another part; trace_back keeps this one as a row."
        )

    @property
    def sites(self) -> Sequence[Site]:
        return []

    def pulled_back(self, direction: Float[Tensor, "batch pos *made"], rule: Rule | None, run: FrozenRun) -> PulledBack:
        _ = self.entry
        raise AssertionError

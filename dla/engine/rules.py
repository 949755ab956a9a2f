"""How an MLP's activations are read as a linear function of what entered: each way is complete, and they differ.

A gated MLP multiplies two functions of the same stream. Either may be taken as given in this run: the rows of a trace
differ, and their sum does not.
"""

import abc
from dataclasses import dataclass, field
from typing import final

from dla.inputs.given import number, shown


class Rule(abc.ABC):
    """How a trace goes through MLPs.

    Law: whatever the rule, a neuron's traced rows and constant add up to what the neuron wrote.

    Attributes:
        frozen_gate: The share of a gated MLP's activations that is read through `up`, the gate being taken as given;
            None where the rule is for MLPs without a gate.
    """

    frozen_gate: float | None

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """The rule, as a result names it."""


@final
@dataclass(frozen=True)
class FrozenGate(Rule):
    """`post = act(gate) * up` is linear in `up`, with `act(gate)` as it was in the run."""

    frozen_gate: float = field(default=1.0, init=False, repr=False)

    @property
    def words(self) -> str:
        return "frozen gate"


@final
@dataclass(frozen=True)
class FrozenUp(Rule):
    """`post = act(gate) * up` as `(up * act(gate) / gate) * gate`: linear in the gate, `up` as it was in the run."""

    frozen_gate: float = field(default=0.0, init=False, repr=False)

    @property
    def words(self) -> str:
        return "frozen up"


@final
@dataclass(frozen=True)
class Mixed(Rule):
    """A share of each activation by `FrozenGate`, the rest by `FrozenUp`.

    Attributes:
        frozen_gate: The share, from 0 to 1.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is not between 0 and 1.
    """

    frozen_gate: float = 0.5

    def __post_init__(self) -> None:
        share = number(self.frozen_gate, "the share of a frozen gate")
        if not 0 <= share <= 1:
            raise ValueError(f"Mixed({shown(self.frozen_gate)}): the share of the frozen gate is from 0 to 1.")
        object.__setattr__(self, "frozen_gate", float(share))

    @property
    def words(self) -> str:
        return f"{self.frozen_gate:g} frozen gate, {1 - self.frozen_gate:g} frozen up"


@final
@dataclass(frozen=True)
class Secant(Rule):
    """`post = (post / pre) * pre`, for MLPs without a gate: the ratio is taken as it was in the run."""

    frozen_gate: None = field(default=None, init=False, repr=False)

    @property
    def words(self) -> str:
        return "secant"


def as_rule(given: object) -> Rule | None:
    """A rule, or None, checked.

    Raises:
        TypeError: If it is neither.
    """
    if given is not None and not isinstance(given, Rule):
        raise TypeError(f"rule={shown(given)} is not a rule. Pass one, such as dla.FrozenGate().")
    return given


def rule_for(rule: Rule | None, gated: bool, whose: str) -> Rule:
    """The rule by which an MLP is traced.

    Args:
        rule: What was asked for; None for the only one that there is, the secant.
        gated: Whether the MLP is gated.
        whose: The MLP, for messages.

    Raises:
        TypeError: If it is no rule.
        ValueError: If it does not fit the MLP, or several fit and none was named.
    """
    if as_rule(rule) is None and gated:
        raise ValueError(
            f"{whose} is gated: what it writes is a product of two functions of what it read, and the rows depend on "
            "which of them is taken as given. Pass rule=dla.FrozenGate(), dla.FrozenUp() or dla.Mixed(0.5)."
        )
    if rule is not None and gated != (rule.frozen_gate is not None):
        what, fitting = ("gated", "FrozenGate()") if gated else ("not gated", "Secant(), or no rule")
        raise ValueError(f"{shown(rule)} does not fit {whose}, which is {what}. Pass {fitting}.")
    return Secant() if rule is None else rule

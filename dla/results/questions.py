"""Questions about an attribution's rows as parts of the model, for which it runs again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dla.edits import Ablation, Zero
from dla.inputs.arguments import instance
from dla.results.attributed import AttributedRows, run_of
from dla.results.caveats import Caveats
from dla.results.direct_effects import DirectEffects
from dla.results.effects import Effects
from dla.results.label_index import OneLabel
from dla.results.measuring import measured_effects
from dla.results.shares import Shares
from dla.results.total_effects import TotalEffects

if TYPE_CHECKING:
    Parts = int | OneLabel | Sequence[OneLabel]
    Replacing = Ablation
    Measured = Effects | None
    Totals = TotalEffects | None
else:  # what is passed is looked at where it is read, and a sentence says what is wrong with it
    Parts = Replacing = Measured = Totals = object

_ZERO = Zero()


class Questions:
    """Whether the rows of an attribution matter: what its class inherits, and which takes nothing but its rows."""

    def direct_effects(self: AttributedRows) -> DirectEffects:
        """What the logit would lose without each row, given how the final norm reacts; runs the model once more.

        `effect = value + (scale / scale_without - 1) * (value - all)`: the scale of the final norm, divided by the one
        that it has without the row's vector, and what the direction reads of the whole stream. Where there is no final
        norm, effects are the values.

        Raises:
            RunChangedError: If the model does not run any more as it ran for this result.
            ValueError: If the rows do not add up, the result was read from a file, or reads a place before the end of
                the stream.
        """
        return DirectEffects.of(self, run_of(self, "direct_effects"))

    def effects(
        self: AttributedRows,
        parts: Parts = 10,
        *,
        ablation: Replacing = _ZERO,
        at: str = "asked",
        joint: bool = False,
        progress: bool | None = None,
    ) -> Effects:
        """What the logit loses in runs of the model without a part, and which later parts make up for it.

        Beside the run that finds the parts' vectors, each part takes one run, with all prompts in a batch. What is
        asked stays what it was in the run with all parts: the tokens of `TopTokens`, the weights of `LogProbability`.

        Args:
            parts: How many of the strongest (of the first direction, if there are several), or labels.
            ablation: What stands in the place of what the part writes: `Zero()`, `Mean(prompts)`, `Resample(prompts)`,
                `Fixed(vector)`, or one of your own.
            at: Where: "asked" at the positions that are attributed, "all" at every position.
            joint: Whether all parts are taken away together, in one run.
            progress: Whether to show a bar; None shows it on a terminal.

        Raises:
            ReconstructionError: If the rows of a run without a part do not add up.
            RunChangedError: If the model does not run any more as it ran for this result.
            TypeError: If an argument is of a kind that cannot be read.
            UnsupportedModelError: If a part cannot be taken away; says why.
            ValueError: If the rows do not add up, or which there are depends on values (`top_k`); there are fewer parts
                or no such part; the ablation does not fit a part; or the result was read from a file.

        Source: McGrath et al. 2023, "The Hydra Effect" (arXiv 2307.15771), for what later parts repair.
        """
        return measured_effects(self, run_of(self, "effects"), parts, ablation, at, joint, progress)

    def shares(self: AttributedRows) -> Shares:
        """The logit shared out among at most 15 rows, with the final norm in the game; see `Shares`.

        The model runs once more. Every set of rows is weighed, so more rows are grouped first.

        Raises:
            RunChangedError: If the model does not run any more as it ran for this result.
            ValueError: If there are more rows, some were left out, they do not add up, or the result was read from a
                file.
        """
        return Shares.of(self, run_of(self, "shares"))

    def caveats(self: AttributedRows, effects: Measured = None, *, totals: Totals = None) -> Caveats:
        """What to know before this result is believed, in sentences with its own numbers; the model runs once more.

        Args:
            effects: What `effects` measured of some parts, for a sentence on what others repair.
            totals: What `dla.total_effects` gave, for a sentence on what later parts take back.

        Raises:
            RunChangedError: If the model does not run any more as it ran for this result.
            TypeError: If `effects` or `totals` are something else.
            ValueError: If the rows do not add up, there are several directions, or the result was read from a file.
        """
        given = instance(effects, (Effects, type(None)), "effects", "what result.effects() gave, or None")
        known = instance(totals, (TotalEffects, type(None)), "totals", "what dla.total_effects(result) gave, or None")
        return Caveats.of(self, run_of(self, "caveats"), given, known)

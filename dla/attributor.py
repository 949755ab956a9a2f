"""The attributor: the one place where a model, a decomposition, a direction and prompts meet."""

import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from beartype import beartype
from jaxtyping import jaxtyped
from torch import Tensor

from dla.adapters import adapt
from dla.adapters.anatomy import Anatomy
from dla.adapters.base import ModelAdapter
from dla.attribution import Attribution
from dla.caches import read_prompts_or_cache
from dla.decomposers.base import Decomposer, Law
from dla.directions import Direction
from dla.errors import ModelDepartureWarning, ReconstructionError, ReconstructionWarning, UnsupportedModelError
from dla.gaps import GapReport, gap_report, steps_of
from dla.labels import Label
from dla.passes import Pass, run_pass
from dla.prompts import Position, Prompts, Text, read_positions
from dla.version import versions
from dla.views.dataset import Record
from dla.writes import Write


@final
class Attributor:
    """Splits a model's logits into the contributions of the parts that a decomposer names.

    The model runs once a call. Each write is contracted with the direction when the model makes it, so the cost is
    about that of the forward pass and nothing as wide as the residual stream is kept.

    Example:
        >>> import dla.demo
        >>> attributor = Attributor(dla.demo.load("raw"), dla.HeadDecomposer())
        >>> result = attributor.attribute("When Mary and John went to the store , John gave a drink to",
        ...                               dla.LogitDifference(" Mary", " John"))
        >>> bool(result.gap.abs() <= result.tolerance)
        True
    """

    def __init__(self, model: Any, decomposer: Decomposer, *, check: Literal["raise", "warn"] = "raise") -> None:
        """Looks at the model, by one small forward pass, and makes the plan.

        Args:
            model: A `HookedTransformer`, a `TransformerBridge` (raw or in compatibility mode), or a `ModelAdapter`.
            decomposer: How to split the residual stream.
            check: What to do where the parts miss the model's own logit: raise, or warn and return the result.

        Raises:
            UnsupportedModelError: If the model cannot be attributed exactly.
            ValueError: If `check` is neither, or the model is in training mode.
        """
        if check not in ("raise", "warn"):
            raise ValueError(f"check={check!r}; pass 'raise' or 'warn'.")
        if not isinstance(decomposer, Decomposer):
            raise TypeError(f"{decomposer!r} is not a Decomposer. Pass an instance, such as HeadDecomposer().")
        self.model = adapt(model)
        self.decomposer = decomposer
        self._check = check
        self._planned: _Plan | None = None
        self._plan()
        self._report_departures()

    @jaxtyped(typechecker=beartype)
    def attribute(
        self,
        prompts: Text | Tensor | None,
        direction: Direction,
        *,
        pos: Position = -1,
        cache: Any = None,
        attention_mask: Tensor | None = None,
        prepend_bos: bool | None = None,
    ) -> Attribution:
        """Attributes what `direction` asks, at the positions asked.

        Args:
            prompts: A string, a list of strings (lengths may differ), or token ids `[pos]` or `[batch pos]`. May be
                None where a cache is given.
            direction: What to attribute.
            pos: An int (-1 is each prompt's last real token), several, a slice, or None for all.
            cache: An `ActivationCache` of these prompts, to use instead of running the model.
            attention_mask: For ids with padding: which of them are real.
            prepend_bos: For text: whether to put the BOS token in front; None does as the model does by default.

        Raises:
            ReconstructionError: If the parts miss the model's own logit by more than rounding (see `check`).
            ValueError: If a token, prompt, position or cache does not fit; says which and what to do.
            TypeError: If ids are not integers.
        """
        plan = self._plan()
        read = read_prompts_or_cache(self.model, prompts, cache, attention_mask, prepend_bos)
        positions = read_positions(pos, read)
        run = run_pass(self.model, plan.anatomy, plan.writes, direction, read, positions, cache)
        return self._checked(self._attribution(run, plan, read, direction))

    def explain_gap(
        self,
        prompts: Text | Tensor,
        direction: Direction,
        *,
        pos: int = -1,
        prepend_bos: bool | None = None,
    ) -> GapReport:
        """Where the sum goes wrong: at each block, what the stream gained against what the parts say it gained.

        Args:
            prompts: As in `attribute`.
            direction: What to attribute.
            pos: One position.
            prepend_bos: As in `attribute`.

        Returns:
            A table that prints itself; the first block with a gap beyond tolerance is where to look.
        """
        plan = self._plan()
        blocks = plan.anatomy.blocks
        writes = (*plan.writes, blocks[0].resid_pre, *(block.resid_post for block in blocks))
        read = read_prompts_or_cache(self.model, prompts, None, None, prepend_bos)
        run = run_pass(self.model, plan.anatomy, writes, direction, read, read_positions(pos, read), None)
        count = len(plan.labels)
        labels, values = plan.labels, run.values[:count]
        if self.decomposer.law is Law.TRAJECTORY:
            labels, values = steps_of(labels, values)
        return gap_report(labels, values, run.values[count:], run.tolerance(Law.TRAJECTORY))

    def _report_departures(self) -> None:
        """Says where the model that runs is not the checkpoint that it was made from."""
        anatomy = self.model.anatomy
        for sentence in anatomy.departures:
            if self._check == "raise" and not anatomy.compatibility:
                raise UnsupportedModelError(f"{sentence} With check='warn' it is attributed as it runs.")
            warnings.warn(sentence, ModelDepartureWarning, stacklevel=3)

    def _plan(self) -> "_Plan":
        """The decomposer's plan for the model as it is now; made again only when the model's weights changed."""
        anatomy = self.model.anatomy
        if self._planned is None or self._planned.anatomy is not anatomy:
            self._planned = _Plan.of(self.decomposer, self.model, anatomy)
        return self._planned

    def _attribution(self, run: Pass, plan: "_Plan", prompts: Prompts, direction: Direction) -> Attribution:
        law = self.decomposer.law
        record = Record(
            tokens=tuple(tuple(prompt) for prompt in prompts.texts()),
            direction=direction.describe(),
            decomposer=type(self.decomposer).__name__,
            law=law.value,
            model=plan.anatomy.name,
            dtype=str(plan.anatomy.unembedding.W_U.dtype).removeprefix("torch."),
            dims=run.dims,
            versions=versions(),
        )
        return Attribution(
            parts=plan.labels,
            values=run.shaped(run.values),
            total=run.shaped(run.total(law)),
            constant=run.shaped(run.constant),
            logit=run.shaped(run.logit),
            output_logit=run.shaped(run.output_logit),
            tolerance=run.shaped(run.tolerance(law)),
            positions=run.shaped(torch.where(run.positions.valid, run.positions.index, -1)),
            record=record,
        )

    def _checked(self, result: Attribution) -> Attribution:
        asked = result.positions >= 0
        excess = torch.where(asked, result.gap.abs().cpu() / result.tolerance.cpu(), torch.zeros(()))
        if bool((excess <= 1).all()):
            return result
        message = _diagnosis(result, excess.nan_to_num(torch.inf), type(self.decomposer).__name__)
        if self._check == "raise":
            raise ReconstructionError(message)
        warnings.warn(message, ReconstructionWarning, stacklevel=3)
        return result


@final
@dataclass(frozen=True, eq=False)
class _Plan:
    """What a decomposer wants to read of one model."""

    anatomy: Anatomy
    writes: tuple[Write, ...]
    labels: tuple[Label, ...]

    @staticmethod
    def of(decomposer: Decomposer, model: ModelAdapter, anatomy: Anatomy) -> "_Plan":
        """Asks the decomposer, and refuses a plan whose rows could not be told apart."""
        writes = tuple(decomposer.writes(model))
        for write in writes:
            if not isinstance(write, Write):
                raise TypeError(f"{type(decomposer).__name__}.writes returned {write!r}; every item must be a Write.")
        labels = tuple(label for write in writes for label in write.labels)
        twice = [label for label, count in Counter(labels).items() if count > 1]
        if twice or not labels:
            what = f"names two parts {str(twice[0])!r}" if twice else "names no part"
            raise ValueError(f"{type(decomposer).__name__} {what}. Give every part a label of its own.")
        return _Plan(anatomy, writes, labels)


def _diagnosis(result: Attribution, excess: Tensor, decomposer: str) -> str:
    worst = int(excess.flatten().argmax())
    gap, allowed = float(result.gap.flatten()[worst]), float(result.tolerance.flatten()[worst])
    batch = 0 if "batch" not in result.record.dims else worst // max(1, excess[0].numel())
    place = f"prompt {batch}, position {int(result.positions.flatten()[worst])}"
    return (
        f"The {len(result.parts)} parts of {decomposer} miss the model's logit by {abs(gap):.1e} (allowed: "
        f"{allowed:.1e}), worst at {place}. A bias that the model adds is the part most often forgotten; "
        "`attributor.explain_gap(prompts, direction)` lists the gap block by block."
    )

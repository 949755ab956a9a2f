"""The attributor: the one place where a model, a decomposition, a direction and prompts meet."""

import warnings
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from beartype import beartype
from jaxtyping import Float, jaxtyped
from torch import Tensor

from dla.adapters import adapt
from dla.adapters.anatomy import Anatomy
from dla.attribution import Attribution
from dla.decomposers.base import Decomposer, Law
from dla.directions import Direction
from dla.errors import ModelDepartureWarning, ReconstructionError, ReconstructionWarning, UnsupportedModelError
from dla.gaps import GapReport, gap_report
from dla.labels import Label
from dla.prompts import Position, Positions, Prompts, Text, read_positions, read_prompts, unknown_prompts
from dla.readings import Question
from dla.streaming import Contraction, Selection, replay
from dla.version import versions
from dla.views.dataset import Record
from dla.writes import Write

TOLERANCE = 16.0
"""How many rounding units, of the size of the numbers that cancel, the parts may miss the logit by."""


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
        self._planned: tuple[Anatomy, tuple[Write, ...], tuple[Label, ...]] | None = None
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
        plan, labels = self._plan()
        run = self._run(plan, prompts, direction, pos, cache, attention_mask, prepend_bos)
        return self._checked(self._attribution(run, labels, direction))

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
        plan, labels = self._plan()
        anatomy = self.model.anatomy
        streams = [anatomy.blocks[0].resid_pre, *(block.resid_post for block in anatomy.blocks)]
        run = self._run((*plan, *streams), prompts, direction, pos, None, None, prepend_bos)
        return gap_report(labels, run.values[: len(labels)], run.values[len(labels) :], run.tolerance)

    def _report_departures(self) -> None:
        """Says where the model that runs is not the checkpoint that it was made from."""
        anatomy = self.model.anatomy
        for sentence in anatomy.departures:
            if self._check == "raise" and not anatomy.compatibility:
                raise UnsupportedModelError(f"{sentence} With check='warn' it is attributed as it runs.")
            warnings.warn(sentence, ModelDepartureWarning, stacklevel=3)

    def _plan(self) -> tuple[tuple[Write, ...], tuple[Label, ...]]:
        """The decomposer's plan for the model as it is now; made again only when the model's weights changed."""
        anatomy = self.model.anatomy
        if self._planned is None or self._planned[0] is not anatomy:
            plan = tuple(self.decomposer.writes(self.model))
            self._planned = (anatomy, plan, tuple(label for write in plan for label in write.labels))
        return self._planned[1:]

    @torch.no_grad()
    def _run(
        self,
        plan: tuple[Write, ...],
        prompts: Text | Tensor | None,
        direction: Direction,
        pos: Position,
        cache: Any,
        attention_mask: Tensor | None,
        prepend_bos: bool | None,
    ) -> "_Run":
        """One pass of the model, or over a cache, with everything contracted and measured; without gradients."""
        read = self._read(prompts, cache, attention_mask, prepend_bos)
        positions = read_positions(pos, read)
        unembedding = self.model.anatomy.unembedding
        width, kept = read.tokens.shape[1], positions.index.shape[1]
        dtype = torch.promote_types(unembedding.W_U.dtype, torch.float32)
        select = Selection(positions.index, width, positions.everything, dtype)
        question = Question(direction.readout(read, positions), unembedding, select)
        contraction = Contraction(plan, question.direction(), select)
        observe = _merged(contraction.observers(), question.observers())
        if cache is None:
            logits = self.model.run(read.tokens, observe, positions.index if kept < width else None)
        else:
            replay(cache, observe)
            logits = None
        values = contraction.values(read.batch, kept)
        scale = question.scale()
        return _Run(
            values=values if scale is None else values / scale,
            question=question,
            logits=logits,
            prompts=read,
            positions=positions,
            law=self.decomposer.law,
            eps=self.model.anatomy.eps,
            batched=cache is None or cache.has_batch_dim,
        )

    def _read(
        self, prompts: Text | Tensor | None, cache: Any, attention_mask: Tensor | None, prepend_bos: bool | None
    ) -> Prompts:
        vocabulary = self.model.vocabulary
        if cache is None:
            if prompts is None:
                raise ValueError("Neither prompts nor a cache was given. Pass the prompts to run, or a cache.")
            return read_prompts(prompts, vocabulary, attention_mask, prepend_bos)
        if not self.model.owns(cache):
            raise ValueError("The cache comes from another model. Pass one that this model made, or leave it out.")
        batch, width = self._size_of(cache)
        if prompts is None:
            return unknown_prompts(batch, width, vocabulary)
        read = read_prompts(prompts, vocabulary, attention_mask, prepend_bos)
        if tuple(read.tokens.shape) != (batch, width):
            raise ValueError(
                f"The cache holds {batch} prompts of {width} positions, the prompts given are {read.batch} of "
                f"{read.tokens.shape[1]}. Pass the prompts that the cache was made from."
            )
        if len(set(read.lengths)) > 1 and vocabulary.pads_left:
            raise ValueError(
                "The prompts have unequal lengths and the tokenizer pads on the left, so positions in the cache are "
                "not positions in the prompts. Leave the cache out, or set tokenizer.padding_side = 'right'."
            )
        return read

    def _size_of(self, cache: Any) -> tuple[int, int]:
        shapes: list[tuple[int, ...]] = []
        name = self.model.anatomy.unembedding.normalised.name
        replay(cache, {name: lambda activation: shapes.append(tuple(activation.shape))})
        return shapes[0][0], shapes[0][1]

    def _attribution(self, run: "_Run", labels: tuple[Label, ...], direction: Direction) -> Attribution:
        model = self.model.anatomy
        dims = [name for name, there in (("batch", run.batched), ("position", not run.positions.single)) if there]
        record = Record(
            tokens=tuple(tuple(prompt) for prompt in run.prompts.texts()),
            direction=direction.describe(),
            decomposer=type(self.decomposer).__name__,
            law=self.decomposer.law.value,
            model=model.name,
            dtype=str(model.unembedding.W_U.dtype).removeprefix("torch."),
            dims=tuple(dims),
            versions=versions(),
        )
        return Attribution(
            parts=labels,
            values=run.shaped(run.values),
            total=run.shaped(run.total),
            constant=run.shaped(run.constant),
            logit=run.shaped(run.logit),
            output_logit=run.shaped(run.output_logit),
            tolerance=run.shaped(run.tolerance),
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
class _Run:
    """What one pass gave: `[part batch kept]`, and what was measured beside it."""

    values: Float[Tensor, "part batch kept"]
    question: Question
    logits: Tensor | None
    prompts: Prompts
    positions: Positions
    law: Law
    eps: float
    batched: bool

    @property
    def total(self) -> Float[Tensor, "batch kept"]:
        whole = self.values.double()
        return (whole.sum(0) if self.law is Law.PARTITION else whole[-1]).to(self.values)

    @property
    def constant(self) -> Float[Tensor, "batch kept"]:
        return self.question.constant().expand(self.values.shape[1:])

    @property
    def logit(self) -> Float[Tensor, "batch kept"]:
        return self.question.answer()

    @property
    def output_logit(self) -> Float[Tensor, "batch kept"]:
        return self.question.transformed_answer(self.logits)

    @property
    def tolerance(self) -> Float[Tensor, "batch kept"]:
        """`TOLERANCE * eps * (Σ|part| + |constant| + Σ|weighted logit| + |direction| · rms(stream))`."""
        sizes = self.values.abs()
        parts = sizes.sum(0) if self.law is Law.PARTITION else sizes.amax(0)
        return TOLERANCE * self.eps * (parts + self.question.magnitude())

    def shaped(self, tensor: Tensor) -> Tensor:
        """NaN where a prompt has no such position; without the axes that were not asked for."""
        if tensor.is_floating_point():
            tensor = tensor.masked_fill(~self.positions.valid.to(tensor.device), torch.nan)
        tensor = tensor.squeeze(-1) if self.positions.single else tensor
        return tensor if self.batched else tensor.squeeze(-1 if self.positions.single else -2)


def _merged(*observers: Any) -> dict[str, Any]:
    """One observer a hook name, calling all that were asked for."""
    together: dict[str, list[Any]] = {}
    for group in observers:
        for name, calls in group.items():
            together.setdefault(name, []).extend(calls if isinstance(calls, list) else [calls])

    def in_turn(calls: list[Any]) -> Any:
        def observe(activation: Tensor) -> None:
            for call in calls:
                call(activation)

        return observe

    return {name: in_turn(calls) for name, calls in together.items()}


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

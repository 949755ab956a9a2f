"""Whether a decomposition has the same parts for every prompt: a sweep needs that."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dla.adapters.base import ModelAdapter
from dla.adapters.fingerprints import checksums
from dla.adapters.upstream import up_to
from dla.adapters.view import AdapterView
from dla.attributor import Attributor
from dla.decomposers.base import plan_of
from dla.decomposers.plans import Plan
from dla.decomposers.rows import Rows
from dla.directions import Direction, Directions, Logit, ResidualVector
from dla.edits.planning import EditPlanner
from dla.engine.forward import ForwardResult, forward
from dla.engine.query import Query
from dla.inputs.positions import Positions, read_positions
from dla.inputs.prompts import Prompts
from dla.labels import Label
from dla.sweeps.question import SweepQuestion
from dla.sweeps.told import told
from dla.writes import Features
from dla.writes.dictionaries import Dictionary

_TRIALS = 8
"""How often rows are chosen from random numbers: a choice among two rows stays hidden once in 2^7 times."""


@final
class StaticPlan:
    """A decomposer's plan for a model, with labels that are the same for every prompt.

    Attributes:
        model: The model, whose anatomy is looked up once for the whole sweep.
        question: What is asked of each row.
        at: The place of the stream that is read; None for the model's readout.
        plan: What is read of the model.
        labels: The labels of the rows.
        dtype: That of the values.
        digest: Changes when a label does, what adds up to it, or a dictionary of features.
    """

    def __init__(self, attributor: Attributor, question: SweepQuestion) -> None:
        """Makes the plan, and runs the model once to find the labels.

        Args:
            attributor: The model and the decomposer.
            question: What is asked of each row.

        Raises:
            ValueError: If the labels depend on the prompt, or on the numbers; says what to use instead. If the
                direction does not fit any one prompt.
        """
        self.question = question
        short, long = (_prompts(attributor.model, length, question.spans) for length in (2, 3))
        self.at = question.place(short)
        view = (
            AdapterView(attributor.model, attributor.model.anatomy)
            if self.at is None
            else up_to(attributor.model, self.at)
        )
        plan = plan_of(attributor.decomposer, view)
        # With the rows of what hooks add: which hooks there are is part of what a sweep is known by.
        self.model, self.plan = EditPlanner(lambda _: (view, plan), short)(self.at)
        self.dtype = torch.promote_types(view.anatomy.unembedding.W_U.dtype, torch.float32)
        rows = _trial(self.plan, short, 0)
        if self.plan.static_labels is None:
            _check(self.plan, rows, short, long)
        nothing = torch.zeros(view.anatomy.unembedding.W_U.shape[0])
        probe = Logit(0) if self.at is None else ResidualVector(nothing, self.at)
        self.labels = tuple(self.measure(probe, short, read_positions(-1, short)).labels)
        self.digest = _digest(self.plan, self.labels, rows, short, question.spans)

    def measure(self, direction: Direction | Directions, prompts: Prompts, positions: Positions) -> ForwardResult:
        """One pass."""
        query = Query.of(lambda _: (self.model, self.plan), direction, prompts, positions)
        assert query.at == self.at, "a direction reads another place of the stream than it did for the first prompt"
        return forward(query).with_readout()


def _check(plan: Plan, rows: Rows, short: Prompts, long: Prompts) -> None:
    if any(_trial(plan, short, seed).labels != rows.labels for seed in range(1, _TRIALS)):
        raise ValueError(
            f"The rows of {plan.name} are chosen by their numbers, so they differ from batch to batch. A sweep needs "
            "the same rows for every prompt: leave top_k out, or put the rows that matter into a GroupDecomposer."
        )
    if _trial(plan, long, 0).labels != rows.labels:
        raise ValueError(
            f"The rows of {plan.name} differ from prompt to prompt. A sweep needs the same rows for every prompt: use "
            "HeadDecomposer(), or add rows up with a GroupDecomposer under names that do not depend on the prompt."
        )


def _trial(plan: Plan, prompts: Prompts, seed: int) -> Rows:
    """The rows for these prompts, with random whole numbers in place of what would be read: they add up exactly."""
    generator = torch.Generator().manual_seed(seed)
    counts = [(step, len(step.write.labels)) for step in plan.steps(prompts)]
    return plan.merged(
        [step.reduced(torch.randint(1, 1024, (n, 1, 1, 1), generator=generator).double()) for step, n in counts]
    )


def _digest(plan: Plan, labels: Sequence[Label], rows: Rows, prompts: Prompts, spans: Mapping[str, Any]) -> str:
    found = [step.write.dictionary for step in plan.steps(prompts) if isinstance(step.write, Features)]
    tensors = [tensor for dictionary in found for tensor in _tensors(dictionary)]
    seen = [plan.name, list(map(str, labels)), rows.values.flatten().tolist(), *map(checksums, tensors)]
    seen += [told(spans)[0]] if spans else []
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def _tensors(dictionary: Dictionary) -> Iterable[Float[Tensor, "..."]]:
    source = dictionary.source
    return source.parameters() if isinstance(source, nn.Module) else [dictionary.W_dec]


def _prompts(model: ModelAdapter, length: int, spans: Iterable[str]) -> Prompts:
    tokens = torch.arange(length)[None] % model.vocabulary.input_size
    return Prompts(tokens, (length,), model.vocabulary, spans=dict.fromkeys(spans, ((),)))

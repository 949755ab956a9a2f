"""All mutants, what each must be found out by, and what is right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch

import dla
from dla.testing import TinyModel
from mutants import adapters, axes, decomposers, directions, hands, labels, nonlinear, remainders, right, states, writes

PROMPTS = torch.tensor([[9, 20, 31, 12], [45, 7, 16, 28]])
"""What directions are tried on."""

DOUBLE, HALF = (TinyModel("gpt2", dtype=dtype) for dtype in (torch.float64, torch.bfloat16))


@final
@dataclass(frozen=True, eq=False)
class Mutant:
    """Something with one mistake in it.

    Attributes:
        of: A decomposer or a direction; or a function that gives a wrong adapter of a model.
        check: The check that must name it.
        on: A model of the catalogue that shows it, or the models that it takes.
        says: What the diagnosis should say, for readers.
        by: The decomposer that an adapter or a direction is tried with.
        means: Of a direction: what it says that it asks, from the logits of `PROMPTS`.
    """

    of: Any
    check: str
    on: str | TinyModel | tuple[str, ...]
    says: str
    by: dla.Decomposer = field(default_factory=dla.HeadDecomposer)
    means: Callable[[torch.Tensor], torch.Tensor] | None = None

    @property
    def name(self) -> str:
        """As it is called in the code."""
        named = self.of if callable(self.of) else type(self.of)
        return str(named.__name__)

    @property
    def models(self) -> Sequence[Any]:
        """What it is tried on."""
        return self.on if isinstance(self.on, tuple) else (self.on,)

    @property
    def mistake(self) -> str:
        """What is wrong, in one sentence."""
        named = self.of if callable(self.of) else type(self.of)
        return " ".join((named.__doc__ or "").split())


DECOMPOSERS: Sequence[Mutant] = (
    Mutant(decomposers.ForgetsOutputBias(), "reconstruction", "gpt2", "the gap is b_O · d̂, at every position"),
    Mutant(decomposers.ForgetsNeuronBias(), "reconstruction", "gpt2", "the gap is b_out · d̂, at every position"),
    Mutant(decomposers.ForgetsPositions(), "reconstruction", "gpt2", "the embeddings miss pos_embed"),
    Mutant(decomposers.ForgetsTheLastBlock(), "reconstruction", "gpt2", "the gap appears in the last block"),
    Mutant(decomposers.AddsValueBiasTwice(), "reconstruction", "gpt2", "the same at every position: a bias too many"),
    Mutant(decomposers.AddsFinalNormBiasAsRow(), "reconstruction", "gpt2", "the constant holds it already"),
    Mutant(decomposers.TakesHeadsBeforeThePostNorm(), "reconstruction", "olmo2", "the heads skip the post-norm"),
    Mutant(decomposers.ForgetsTheResidualMultiplier(), "reconstruction", "granite-biases", "a factor of 0.6"),
    Mutant(decomposers.AddsOutputBiasUnmultiplied(), "reconstruction", "granite-biases", "0.4 b_O too much"),
    Mutant(decomposers.TakesThePostNormsFirstScale(), "reconstruction", "olmo2", "right at the first position only"),
    Mutant(decomposers.SwapsTwoHeads(), "reconstruction", "gpt2", "two heads have each other's weights"),
    Mutant(decomposers.ReshapesWeightsTheOtherWay(), "reconstruction", "gpt2", "W_O is in another order"),
    Mutant(decomposers.TransposesWeights(), "reconstruction", "gpt2", "W_O is in another order"),
    Mutant(decomposers.TakesThePreviousLayersWeights(), "reconstruction", "gpt2", "W_O is another block's"),
    Mutant(decomposers.ExpandsGroupedQueriesInTheWrongOrder(), "reconstruction", "llama", "heads read other values"),
    Mutant(decomposers.CountsAttentionTwice(), "reconstruction", "gpt2", "attention is in two rows"),
    Mutant(decomposers.AddsUpTheStreams(), "reconstruction", "llama", "cumulative rows do not add up"),
    Mutant(decomposers.StopsBeforeTheLastBlock(), "reconstruction", "llama", "the last row is not the last stream"),
    Mutant(decomposers.ForgetsTheSharedExpert(), "reconstruction", "qwen2_moe", "the shared expert is in no row"),
    Mutant(labels.NamesHeadsInReverse(), "names", "llama", "L0H0 answers to another head's weights"),
    Mutant(labels.NamesHeadsColumnFirst(), "names", "llama", "L0H1 answers to another head's weights"),
    Mutant(labels.CountsLayersFromOne(), "names", "llama", "there is no L2H0"),
    Mutant(labels.CountsNeuronsFromTheEnd(), "names", "gpt2", "L0N0 answers to another neuron's weights"),
    Mutant(labels.SharesTheBiasAmongHeads(), "names", "gpt2", "L0H0 is more than its head: b_O is in it"),
    Mutant(labels.CreditsTheMLPWithAttention(), "names", "gptj", "0_mlp_out is more than the MLP"),
    Mutant(labels.PutsNeuronsUnderAttention(), "refinement", "gpt2", "the pieces of 0_attn_out are neurons"),
    Mutant(labels.LeavesTheBiasWithoutParent(), "refinement", "gpt2", "the pieces of 0_attn_out miss b_O"),
    Mutant(labels.UsesOneNameTwice(), "plan", "llama", "two parts are called attn_out"),
    Mutant(labels.NamesMoreRowsThanThereAre(), "plan", "llama", "8 names for 4 rows"),
    Mutant(labels.ReturnsNames(), "plan", "llama", "not a write"),
    Mutant(labels.YieldsItsWrites(), "plan", "llama", "a plan is a sequence"),
    Mutant(labels.RunsTheModelToPlan(), "plan", "llama", "a plan runs nothing"),
    Mutant(labels.PlansSomethingElseEachTime(), "plan", "llama", "two plans of one model differ"),
    Mutant(labels.GroupsHeadsByChance(), "repeatable", "gpt2", "twice the same question, two answers"),
    Mutant(labels.TakesFoldingForGranted(), "folding", "gpt2", "L0H0 is another row in compatibility mode"),
    Mutant(remainders.HeadsAndTheRest(), "measured", "llama", "'everything else' is what the others leave"),
    Mutant(remainders.DoubledHeadsAndTheRest(), "measured", "llama", "'everything else' is what the others leave"),
    Mutant(remainders.BiasAsWhatHeadsLeave(), "measured", "gpt2", "'0_bias' is what the heads leave"),
    Mutant(remainders.MLPAsWhatTheBlockLeaves(), "measured", "llama", "'0_mlp_out' is what attention leaves"),
    Mutant(remainders.ScalesRowsToFit(), "measured", "llama", "all rows move when one write does"),
    Mutant(writes.ContractsBeforeThePostNorm(), "contract", "olmo2", "contract forgets the norm that vectors has"),
    Mutant(writes.ShowsVectorsBeforeThePostNorm(), "contract", "olmo2", "vectors forgets the norm that contract has"),
    Mutant(writes.KeepsAReadSecret(), "contract", "olmo2", "it reads a scale that it does not declare"),
    Mutant(writes.AddsInHalfPrecision(), "precision", HALF, "sums in float16"),
    Mutant(writes.AddsInSinglePrecision(), "precision", DOUBLE, "sums in float32 of a float64 model"),
    Mutant(states.RemembersTheFirstPrompt(), "repeatable", "llama", "other prompts in between change the rows"),
    Mutant(states.RemembersTheFirstModel(), "reconstruction", ("gptj", "phi"), "the weights are another model's"),
    Mutant(states.RotatesHeadsByChance(), "repeatable", "llama", "twice the same question, two answers"),
    Mutant(states.DropsSmallActivations(), "hands off", "llama", "the model's own logits change"),
    Mutant(states.CentresTheStreamInPlace(), "hands off", "gpt2", "an activation of the model was changed in place"),
    Mutant(hands.CentresTheDirection(), "hands off", "llama", "the direction was changed in place"),
    Mutant(hands.DividesTheActivation(), "hands off", "llama", "an activation was changed in place"),
    Mutant(states.CountsOnTheOrder(), "cache", "llama", "from a cache the rows are others"),
    Mutant(axes.ComparesWithTheBatch(), "batch", "llama", "a prompt's rows depend on its neighbours"),
    Mutant(axes.AveragesOverThePadding(), "batch", "llama", "a prompt's rows depend on the padding"),
    Mutant(axes.ReadsTheLastPosition(), "reconstruction", "llama", "right at the last position only"),
    Mutant(axes.ReadsTheFirstPrompt(), "batch", "llama", "right for the first prompt only"),
    Mutant(axes.ForgetsToTakeThePosition(), "positions", "llama", "several positions give other rows than one"),
    Mutant(axes.ExchangesBatchAndPosition(), "batch", "llama", "right for one prompt only"),
    Mutant(nonlinear.SharesByMagnitude(), "linearity", "llama", "rows of a + b are not those of a plus those of b"),
    Mutant(nonlinear.AddsUpBySign(), "linearity", "llama", "rows of -a are not those of a, negated"),
    Mutant(nonlinear.SharesByNorm(), "names", "llama", "L0H0 answers to other heads' weights"),
)

ADAPTERS: Sequence[Mutant] = (
    Mutant(adapters.drops_gamma, "reconstruction", "llama", "the final norm's weight is missing"),
    Mutant(adapters.drops_beta, "reconstruction", "gpt2", "a constant is missing"),
    Mutant(adapters.drops_b_U, "reconstruction", "phi", "a constant is missing"),
    Mutant(adapters.takes_layer_norm_for_rms_norm, "reconstruction", "gpt2", "the final norm centres"),
    Mutant(adapters.takes_rms_norm_for_layer_norm, "reconstruction", "llama", "the final norm does not centre"),
    Mutant(adapters.forgets_one_plus_w, "reconstruction", "gemma2", "the final norm's weight is off by one"),
    Mutant(adapters.takes_the_unbiased_variance, "reconstruction", "gpt2", "a factor of √(n / (n - 1))"),
    Mutant(adapters.takes_the_scale_of_the_position_before, "reconstruction", "llama", "the scale of another position"),
    Mutant(adapters.takes_the_logits_after_the_soft_cap, "reconstruction", "gemma2", "the logits are capped"),
    Mutant(
        adapters.forgets_the_residual_multiplier,
        "reconstruction",
        "granite-biases",
        "a factor of 0.6",
        dla.ComponentDecomposer(),
    ),
    Mutant(adapters.forgets_the_embedding_scale, "reconstruction", "gemma2", "the embedding is too small"),
    Mutant(adapters.flattens_W_O_the_other_way, "reconstruction", "llama", "W_O is in another order"),
    Mutant(adapters.reads_z_of_the_position_before, "reconstruction", "llama", "heads of another position"),
    Mutant(
        adapters.shows_the_normed_stream_as_the_last,
        "reconstruction",
        "llama",
        "the last row is normed twice",
        dla.LayerDecomposer(),
    ),
    Mutant(adapters.PadsOnTheLeft, "batch", "llama", "padding is read as text"),
    Mutant(adapters.AnswersFromMemory, "repeatable", "llama", "other prompts in between change the rows"),
)

DIRECTIONS: Sequence[Mutant] = (
    Mutant(
        directions.AddsTheOtherToken(),
        "meaning",
        "llama",
        "it asks something else",
        means=lambda logits: logits[..., 9] - logits[..., 14],
    ),
    Mutant(
        directions.AsksForTheTokenItself(),
        "meaning",
        "llama",
        "it asks something else",
        means=lambda logits: logits.gather(-1, PROMPTS.roll(-1, 1).unsqueeze(-1)).squeeze(-1),
    ),
    Mutant(directions.AsksForTheLastColumn(), "batch", "llama", "a prompt's rows depend on the padding"),
    Mutant(directions.AsksForTheNextPromptsToken(), "batch", "llama", "a prompt's rows depend on its neighbours"),
    Mutant(directions.ContrastsWithTheBatch(), "batch", "llama", "a prompt's rows depend on its neighbours"),
    Mutant(directions.CountsPositionsInTheAnswer(), "positions", "llama", "several positions give other rows than one"),
    Mutant(directions.ContrastsWithChance(), "repeatable", "llama", "twice the same question, two answers"),
    Mutant(directions.CountsItsCalls(), "repeatable", "llama", "twice the same question, two answers"),
    Mutant(directions.ChangesThePrompt(), "hands off", "llama", "the prompt was changed in place"),
)

MUTANTS: Sequence[Mutant] = (*DECOMPOSERS, *ADAPTERS, *DIRECTIONS)

RIGHT: Sequence[dla.Decomposer] = (
    right.OneRow(),
    right.ReadsByToken(),
    right.Kinds(),
    right.BlockHalves(),
    right.SingularDirections(),
    right.HeadsByWhatTheyRead(),
    right.HugeRowsThatCancel(),
    right.RowsOfZero(),
    right.NoncontiguousViews(),
    right.EveryOtherPlace(),
    right.NeuronsBySign(),
    right.OnlyTheStrongestHeads(),
    right.EarlyAndLate(),
    right.RandomButTheSame(),
    right.OnlyTheLastBlock(),
    dla.HeadDecomposer(layers=[0]) | dla.NeuronDecomposer(layers=[1]),
    dla.GroupDecomposer(dla.SourceDecomposer(), {"from the first token": lambda label: label.source == 0}),
)

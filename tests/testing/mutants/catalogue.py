"""All mutants, what each must be found out by, and what is right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import torch

import dla
from dla.testing import TinyModel
from mutants import adapters, axes, decomposers, directions, labels, nonlinear, remainders, right, states, writes

PROMPTS = torch.tensor([[9, 20, 31, 12], [45, 7, 16, 28]])
"""What directions are tried on."""

SUMS = "reconstruction"
"""The law that most of them break."""

DOUBLE, HALF = (TinyModel("gpt2", dtype=dtype) for dtype in (torch.float64, torch.bfloat16))


@final
@dataclass(frozen=True, eq=False)
class Mutant:
    """Something with one mistake in it.

    Attributes:
        of: A decomposer or a direction; or a function that gives a wrong adapter of a model.
        check: The check that must name it.
        on: A model of the catalogue that shows it, or the models that it takes.
        says: A regular expression that its diagnosis matches: the smallest model or prompt, or the likely cause.
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
    Mutant(
        decomposers.ForgetsOutputBias(),
        SUMS,
        "gpt2",
        r"1 layer, with a prompt of 1 token, (.|\n)*miss `b_O` of block 0: the gap equals b_O · d̂",
    ),
    Mutant(decomposers.ForgetsNeuronBias(), SUMS, "gpt2", "The rows miss `b_out` of block 0: the gap equals"),
    Mutant(decomposers.ForgetsPositions(), SUMS, "gpt2", "The rows miss `pos_embed`: the gap equals its row"),
    Mutant(decomposers.ForgetsTheLastBlock(), SUMS, "gpt2", "The rows miss `0_block`: the gap equals its row"),
    Mutant(
        decomposers.AddsValueBiasTwice(), SUMS, "gpt2", "hold `b_V` of block 0 once too often: the gap equals -1 × b_V"
    ),
    Mutant(decomposers.AddsFinalNormBiasAsRow(), SUMS, "gpt2", "Row 'ln_final_b' should not be there"),
    Mutant(decomposers.TakesHeadsBeforeThePostNorm(), SUMS, "olmo2", "rows miss the norm after each sublayer"),
    Mutant(decomposers.ForgetsTheResidualMultiplier(), SUMS, "granite-biases", "the token's logit, at prompt 0"),
    Mutant(
        decomposers.AddsOutputBiasUnmultiplied(),
        SUMS,
        "granite-biases",
        r"Row '0_b_O' is right but for the factor 0\.6",
    ),
    Mutant(decomposers.TakesThePostNormsFirstScale(), SUMS, "olmo2", "The first position is right and later ones"),
    Mutant(decomposers.SwapsTwoHeads(), SUMS, "gpt2", "the token's logit"),
    Mutant(decomposers.ReshapesWeightsTheOtherWay(), SUMS, "gpt2", "the token's logit"),
    Mutant(decomposers.TransposesWeights(), SUMS, "gpt2", "the token's logit"),
    Mutant(decomposers.TakesThePreviousLayersWeights(), SUMS, "gpt2", "a raw bridge, with a prompt of 1 token"),
    Mutant(decomposers.ExpandsGroupedQueriesInTheWrongOrder(), SUMS, "llama", "the token's logit"),
    Mutant(decomposers.CountsAttentionTwice(), SUMS, "gpt2", "hold `0_attn_out` once too often: the gap equals -1"),
    Mutant(decomposers.AddsUpTheStreams(), SUMS, "llama", "the token's logit"),
    Mutant(decomposers.StopsBeforeTheLastBlock(), SUMS, "llama", "the last row and the constant should be"),
    Mutant(decomposers.ForgetsTheSharedExpert(), SUMS, "qwen2_moe", "the token's logit"),
    Mutant(labels.NamesHeadsInReverse(), "names", "llama", r"Row 'L0H3' should be (.|\n)*It is the row of 'L0H0'"),
    Mutant(labels.NamesHeadsColumnFirst(), "names", "llama", "It is the row of 'L0H1': labels in another"),
    Mutant(labels.CountsLayersFromOne(), "names", "llama", r"Row 'L1H0' (.|\n)*row of 'L0H0': labels .* a layer off"),
    Mutant(labels.CountsNeuronsFromTheEnd(), "names", "gpt2", "It is the row of 'L0N0'"),
    Mutant(labels.SharesTheBiasAmongHeads(), "names", "gpt2", "something else needs a kind of its own"),
    Mutant(labels.CreditsTheMLPWithAttention(), "names", "gptj", "Row '0_attn_out' should be"),
    Mutant(labels.PutsNeuronsUnderAttention(), "refinement", "gpt2", "The pieces miss '0_neurons'"),
    Mutant(
        labels.LeavesTheBiasWithoutParent(), "refinement", "gpt2", r"The 4 pieces of '0_attn_out' (.|\n)*miss '0_b_O'"
    ),
    Mutant(labels.UsesOneNameTwice(), "plan", "llama", r"names two parts 'attn_out'\. Give every part a label"),
    Mutant(labels.NamesMoreRowsThanThereAre(), "plan", "llama", r"There are 8 labels for 4 parts"),
    Mutant(labels.ReturnsNames(), "plan", "llama", "returned 'embed'; every item must be a Write or an Entry"),
    Mutant(labels.YieldsItsWrites(), "plan", "llama", "`writes` returned a generator; expected a list or tuple"),
    Mutant(
        labels.RunsTheModelToPlan(), "plan", "llama", "`writes` ran the model 1 times; expected a plan that is made"
    ),
    Mutant(
        labels.PlansSomethingElseEachTime(), "plan", "llama", "`writes` gives other labels: 'L0H0', then '0_attn_out'"
    ),
    Mutant(labels.GroupsHeadsByChance(), "repeatable", "gpt2", "twice should give the same bits: row '0_group"),
    Mutant(labels.TakesFoldingForGranted(), "folding", "gpt2", "row 'L0H0' at .*: in compatibility mode"),
    Mutant(
        remainders.HeadsAndTheRest(), "measured", "llama", "Row 'everything else' is defined as what the others leave"
    ),
    Mutant(remainders.DoubledHeadsAndTheRest(), "measured", "llama", "hook_z' was shown changed while the model"),
    Mutant(remainders.BiasAsWhatHeadsLeave(), "measured", "gpt2", "Row '0_bias' is defined as what the others leave"),
    Mutant(
        remainders.MLPAsWhatTheBlockLeaves(), "measured", "llama", "Row '0_mlp_out' is defined as what the others leave"
    ),
    Mutant(remainders.ScalesRowsToFit(), "measured", "llama", r"The rows that moved \(0_attn_out, 0_mlp_out\)"),
    Mutant(writes.ContractsBeforeThePostNorm(), "contract", "olmo2", "`contract` is not `vectors` dotted"),
    Mutant(writes.ShowsVectorsBeforeThePostNorm(), "contract", "olmo2", "forgets something on the way"),
    Mutant(writes.KeepsAReadSecret(), "contract", "olmo2", r"needs 'blocks\.0\.ln1(_post)?\.hook_scale', which"),
    Mutant(writes.AddsInHalfPrecision(), "precision", HALF, "The numbers are added in too few bits"),
    Mutant(writes.AddsInSinglePrecision(), "precision", DOUBLE, "should read three times as much"),
    Mutant(
        states.RemembersTheFirstPrompt(),
        "repeatable",
        "llama",
        r"another order should be (.|\n)*Something of an earlier",
    ),
    Mutant(states.RemembersTheFirstModel(), SUMS, ("gptj", "phi"), r"phi(.|\n)*it raises ValueError: The model has no"),
    Mutant(states.RotatesHeadsByChance(), "repeatable", "llama", "row '0_basis_0' is off by up to"),
    Mutant(states.DropsSmallActivations(), "hands off", "llama", "the activation at '.*hook_z' was changed"),
    Mutant(states.CentresTheStreamInPlace(), "hands off", "gpt2", r"Compute a new tensor: `x \+ y`, not `x \+= y`"),
    Mutant(states.CentresTheWeights(), "hands off", "gpt2", "the weight '.*' was changed"),
    Mutant(states.CentresTheDirection(), "hands off", "llama", "the direction was changed while 'L0H0'"),
    Mutant(states.DividesTheActivation(), "hands off", "llama", "the activation at '.*hook_z' was changed"),
    Mutant(states.CountsOnTheOrder(), "cache", "llama", "should be those of a run: row '1_gain'"),
    Mutant(axes.ComparesWithTheBatch(), "batch", "llama", "prompt 0 of 2 .* should be as if alone"),
    Mutant(axes.AveragesOverThePadding(), "batch", "llama", "must not depend on the other prompts"),
    Mutant(axes.ReadsTheLastPosition(), SUMS, "llama", "with a prompt of 2 tokens"),
    Mutant(axes.ReadsTheFirstPrompt(), "batch", "llama", "prompt 1 of 2 .* should be as if alone"),
    Mutant(axes.ForgetsToTakeThePosition(), "positions", "llama", "pos=1 should be that position"),
    Mutant(axes.ExchangesBatchAndPosition(), "batch", "llama", "prompt 0 of 2 .* should be as if alone"),
    Mutant(nonlinear.SharesByMagnitude(), "linearity", "llama", "row 'L0H0' should be linear in the direction"),
    Mutant(nonlinear.AddsUpBySign(), "linearity", "llama", "every sign should flip: row '0_heads that help'"),
    Mutant(nonlinear.SharesByNorm(), "names", "llama", "Row 'L0H0' should be the library's own row"),
)

ADAPTERS: Sequence[Mutant] = (
    Mutant(adapters.drops_gamma, SUMS, "llama", "the token's logit"),
    Mutant(adapters.drops_beta, SUMS, "gpt2", "the token's logit"),
    Mutant(adapters.drops_b_U, SUMS, "phi", "the token's logit"),
    Mutant(adapters.takes_layer_norm_for_rms_norm, SUMS, "gpt2", "the token's logit"),
    Mutant(adapters.takes_rms_norm_for_layer_norm, SUMS, "llama", "the token's logit"),
    Mutant(adapters.forgets_one_plus_w, SUMS, "gemma2", "the token's logit"),
    Mutant(adapters.takes_the_unbiased_variance, SUMS, "gpt2", r"right but for the factor 1\.016"),
    Mutant(adapters.takes_the_scale_of_the_position_before, SUMS, "llama", "the token's logit"),
    Mutant(adapters.takes_the_logits_after_the_soft_cap, SUMS, "gemma2", "should be the difference"),
    Mutant(
        adapters.forgets_the_residual_multiplier, SUMS, "granite-biases", "the token's logit", dla.ComponentDecomposer()
    ),
    Mutant(adapters.forgets_the_embedding_scale, SUMS, "gemma2", r"'embed' is right but for the factor 5\.657"),
    Mutant(adapters.flattens_W_O_the_other_way, SUMS, "llama", "the token's logit"),
    Mutant(adapters.reads_z_of_the_position_before, SUMS, "llama", "the token's logit"),
    Mutant(
        adapters.shows_the_normed_stream_as_the_last,
        SUMS,
        "llama",
        "the last row and the constant should be",
        dla.LayerDecomposer(),
    ),
    Mutant(adapters.pads_on_the_left, "batch", "llama", "prompt 1 of 2 .* should be as if alone"),
    Mutant(adapters.answers_from_memory, "repeatable", "llama", "in another order should be as they were"),
)

DIRECTIONS: Sequence[Mutant] = (
    Mutant(
        directions.AddsTheOtherToken(),
        "meaning",
        "llama",
        r"it should ask what it means, at \[0, 3\]",
        means=lambda logits: logits[..., 9] - logits[..., 14],
    ),
    Mutant(
        directions.AsksForTheTokenItself(),
        "meaning",
        "llama",
        r"it should ask what it means, at \[0, 1\]",
        means=lambda logits: logits.gather(-1, PROMPTS.roll(-1, 1).unsqueeze(-1)).squeeze(-1),
    ),
    Mutant(directions.AsksForTheLastColumn(), "batch", "llama", "prompt 1 of 3 .* should ask what it asks"),
    Mutant(directions.AsksForTheNextPromptsToken(), "batch", "llama", "prompt 0 of 3 .* should ask what it asks"),
    Mutant(directions.ContrastsWithTheBatch(), "batch", "llama", "prompt 0 of 3 .* should ask what it asks"),
    Mutant(directions.CountsPositionsInTheAnswer(), "positions", "llama", "pos=3 should ask what pos=None asks"),
    Mutant(directions.ContrastsWithChance(), "repeatable", "llama", "asked twice, it asks something else"),
    Mutant(directions.CountsItsCalls(), "repeatable", "llama", "asked twice, it asks something else"),
    Mutant(
        directions.ChangesThePrompt(),
        "hands off",
        "llama",
        "the prompts were changed while it was resolved: compute new ids",
    ),
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

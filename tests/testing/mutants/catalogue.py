"""All mutants, what each must be found out by, and what is right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch

import dla
from dla.testing import TinyModel
from mutants import (
    ablations,
    adapters,
    axes,
    decomposers,
    dictionaries,
    directions,
    labels,
    nonlinear,
    prompts,
    remainders,
    right,
    rounding,
    states,
    writes,
)

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
        of: A decomposer, direction, ablation or dictionary; or a function or class that gives a wrong adapter.
        check: The check that must name it.
        on: A model of the catalogue that shows it, or the models that it takes; none for those of a quick check.
        says: A regular expression that its diagnosis matches: the smallest model or prompt, or the likely cause.
        means: Of a direction: what it says that it asks, from the logits of `PROMPTS`.
        may: Checks that find it or not, as the kernels of a processor round; the page leaves them out.
    """

    of: Any
    check: str
    on: str | TinyModel | tuple[str, ...]
    says: str
    means: Callable[[torch.Tensor], torch.Tensor] | None = None
    may: tuple[str, ...] = ()

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
    Mutant(
        decomposers.AddsValueBiasTwice(), SUMS, "gpt2", "hold `b_V` of block 0 once too often: the gap equals -1 × b_V"
    ),
    Mutant(decomposers.TakesHeadsBeforeThePostNorm(), SUMS, "olmo2", "rows miss the norm after each sublayer"),
    Mutant(
        decomposers.AddsOutputBiasUnmultiplied(),
        SUMS,
        "granite-biases",
        r"Row '0_b_O' is right but for the factor 0\.6",
    ),
    Mutant(
        decomposers.TakesThePostNormsFirstScale(),
        SUMS,
        "olmo2",
        "are not what parts of that name write(.|\\n)*The first position is right and later ones",
    ),
    Mutant(decomposers.SwapsTwoHeads(), SUMS, "gpt2", "the token's logit"),
    Mutant(decomposers.StopsBeforeTheLastBlock(), SUMS, "llama", "the last row and the constant should be"),
    Mutant(decomposers.LeavesOutUnfinishedBlocks(), "traces", "llama", "and the constant miss the 0_mlp_out"),
    Mutant(labels.NamesHeadsInReverse(), "names", "llama", r"Row 'L0H3' should be (.|\n)*It is the row of 'L0H0'"),
    Mutant(
        labels.LeavesTheBiasWithoutParent(),
        "refinement",
        "gpt2",
        r"The 4 pieces of '0_attn_out' (.|\n)*Row '0_output bias' is what they miss",
    ),
    Mutant(labels.UsesOneNameTwice(), "plan", "llama", r"names two parts 'attn_out'\. Give every part a label"),
    Mutant(labels.NamesMoreRowsThanThereAre(), "plan", "llama", r"There are 8 labels for 4 parts"),
    Mutant(labels.YieldsItsWrites(), "plan", "llama", "`writes` returned a generator; expected a list or tuple"),
    Mutant(
        labels.RunsTheModelToPlan(), "plan", "llama", "`writes` ran the model 1 times; expected a plan that is made"
    ),
    Mutant(
        labels.PlansSomethingElseEachTime(), "plan", "llama", "`writes` gives other labels: 'L0H0', then '0_attn_out'"
    ),
    Mutant(labels.GroupsHeadsByChance(), "repeatable", "gpt2", "twice should give the same bits"),
    Mutant(labels.TakesFoldingForGranted(), "folding", "gpt2", "row 'L0H0' at .*: in compatibility mode"),
    Mutant(
        remainders.HeadsAndTheRest(), "measured", "llama", "Row 'everything else' is defined as what the others leave"
    ),
    Mutant(writes.ContractsBeforeThePostNorm(), "contract", "olmo2", "`contract` is not `vectors` dotted"),
    Mutant(writes.KeepsAReadSecret(), "contract", "olmo2", r"needs 'blocks\.0\.ln1(_post)?\.hook_scale', which"),
    Mutant(writes.AddsInHalfPrecision(), "precision", HALF, "Numbers are rounded to too few bits"),
    Mutant(writes.AddsInSinglePrecision(), "precision", DOUBLE, "should read three times as much", may=("positions",)),
    Mutant(
        states.RemembersTheFirstPrompt(),
        "memory",
        "llama",
        r"a used decomposer should give (.|\n)*Something of an earlier run or model is kept",
    ),
    Mutant(
        states.RemembersTheFirstModel(),
        "memory",
        ("gptj", "phi"),
        "phi(.|\\n)*Something of an earlier run or model is kept",
    ),
    Mutant(decomposers.ForgetsRounding(), "half precision", (), "They miss the rows 'rounding'"),
    Mutant(
        prompts.MasksThePaddingToken(),
        "special tokens",
        "gpt2",
        "Once padding that is text is replaced by another word",
    ),
    Mutant(prompts.ReadsSixteenTokens(), "long prompts", "gpt2", "With up to 16 tokens they are, and from 17 on not"),
    Mutant(prompts.CutsOffEarlyStreams(), "trajectory", "gpt2", "Row '0_pre' is no linear function of what it reads"),
    Mutant(states.DropsSmallActivations(), "hands off", "llama", "the activation at '.*hook_z' was changed"),
    Mutant(states.CentresTheWeights(), "hands off", "gpt2", "the weight '.*' was changed"),
    Mutant(states.CentresTheDirection(), "hands off", "llama", "the direction was changed while 'L0H0'"),
    Mutant(states.CountsOnTheOrder(), "cache", "llama", "should be those of a run: row '1_gain'"),
    Mutant(axes.AveragesOverThePadding(), "batch", "llama", "must not depend on the other prompts"),
    Mutant(axes.ForgetsToTakeThePosition(), "positions", "llama", "pos=1 should be that position"),
    Mutant(nonlinear.SharesByMagnitude(), "linearity", "llama", "row 'L0H0' should be linear in the direction"),
)


ADAPTERS: Sequence[Mutant] = (
    Mutant(adapters.reads_backwards, "is causal", "gpt2", "moves the logits before it"),
    Mutant(adapters.unembeds_the_first_prompts_positions, "unembeds what is asked", "gpt2", "2 positions per prompt"),
    Mutant(adapters.writes_to_the_ids, "hands off", "gpt2", "changed the ids that it was given"),
    Mutant(adapters.ScalesWhatItLooksAt, "hands off", "gpt2", "Looking at it changed its logits"),
    Mutant(adapters.RecordsGradients, "observers", "gpt2", "records gradients"),
    Mutant(adapters.LeavesHooks, "observers", "gpt2", "is still called in later runs"),
    Mutant(adapters.LeavesHooksAfterErrors, "observers", "gpt2", "that raised an error is still called"),
    Mutant(adapters.reads_values_without_their_bias, "block 0: reads", "gpt2", "through its norm and W_V must give v"),
    Mutant(adapters.forgets_the_embedding_scale, "embeddings", "gemma2", "right but for the factor"),
    Mutant(adapters.forgets_the_residual_multiplier, "block 0", "granite-biases", "must add up to resid_post"),
    Mutant(adapters.flattens_W_O_the_other_way, "block 0: heads", "llama", "must add up to 0_attn_out"),
    Mutant(adapters.forgets_b_out, "block 0: neurons", "gpt2", "the same vector at every position: a bias"),
    Mutant(adapters.turns_the_pattern, "block 0: values", "gpt2", "pattern @ v must be z"),
    Mutant(adapters.takes_the_end_for_the_middle, "block 0: resid_mid", "gpt2", "must add up to resid_mid"),
    Mutant(adapters.halves_experts, "block 0: experts", "mixtral", "right but for the factor 2"),
    Mutant(adapters.forgets_a_post_norms_eps, "block 0: norm", "olmo2", "scale misses the one that is read"),
    Mutant(adapters.counts_layers_from_one, "block 0: labels", "gpt2", "'1_attn_out' has layer=1"),
    Mutant(adapters.drops_gamma, "final norm", "llama", "a norm's weight"),
    Mutant(adapters.takes_another_eps, "final norm: scale", "gpt2", "scale misses the one that is read"),
    Mutant(adapters.drops_b_U, "unembedding", "phi", "a bias"),
    Mutant(adapters.unembeds_with_another_module, "unembedding module", "gpt2", "it must give the logits"),
    Mutant(adapters.forgets_the_soft_cap, "output transform", "gemma2", "must give what the model returns"),
    Mutant(adapters.caps_by_the_largest_logit, "output transform", "gemma2", "must give what the model returns"),
    Mutant(adapters.allows_anything, "precision", "gpt2", "would let anything add up"),
    Mutant(adapters.DecodesTheNextToken, "vocabulary", "gpt2", "for `decode`"),
    Mutant(adapters.answers_from_memory, "is causal", "gpt2", "does not read what it is given"),
    Mutant(adapters.pads_on_the_left, "unequal lengths", "llama", "miss those of each prompt alone"),
    Mutant(adapters.PromisesALongContext, "context", "gpt2", "The longest prompt has 512 tokens"),
    Mutant(adapters.ReadsAnotherLayersValues, "block 0: reads", "gpt2", "through its norm and W_V must give v"),
    Mutant(adapters.TakesTheUpForTheGate, "block 0: reads", "llama", "must give post"),
    Mutant(adapters.forgets_the_post_norm_of_outputs, "block 0: outputs", "olmo2", "must be 0_attn_out"),
    Mutant(adapters.gives_a_reason_for_nothing, "block 0: outputs", "gpt2", "speaks of"),
    Mutant(adapters.ForgetsAnotherB_V, "block 0: reads", "gpt2", "b_V must be the bias"),
    Mutant(adapters.EditsNothing, "editing", "gpt2", "the logits must be, too"),
    Mutant(adapters.has_no_name, "anatomy", "gpt2", "has no name"),
    Mutant(adapters.PadsWithBOS, "vocabulary", "gpt2", "it is text as well"),
    *(
        Mutant(rounding.WITHOUT[of], check, TinyModel(model, dtype=torch.bfloat16), "miss the model's own logit")
        for of, check, model in (
            ("sublayers", "sum of sources", "gpt2"),
            ("heads", "sum of sources", "gpt2"),
            ("values", "sum of sources", "gpt2"),
            ("neurons", "sum of neurons", "gpt2"),
            ("experts", "sum of experts", "mixtral"),
            ("unembedding", "sum of sources", "gpt2"),
        )
    ),
    Mutant(adapters.OwnsNoCache, "cache", "gpt2", "refuses a cache that names no model"),
)

DIRECTIONS: Sequence[Mutant] = (
    Mutant(directions.ReadsNothing(), "resolves", "llama", "nothing is read"),
    Mutant(directions.ReadsNowhere(), "resolves", "llama", "nowhere"),
    Mutant(directions.CountsInItsName(), "describes", "llama", "Asked twice, `describe` says"),
    Mutant(
        directions.AddsTheOtherToken(),
        "meaning",
        "llama",
        r"it should ask what it means, at \[0, 3\]",
        means=lambda logits: logits[..., 9] - logits[..., 14],
    ),
    Mutant(directions.AsksForTheNextPromptsToken(), "batch", "llama", "prompt 0 of 3 .* should ask what it asks"),
    Mutant(directions.CountsPositionsInTheAnswer(), "positions", "llama", "pos=3 should ask what pos=None asks"),
    Mutant(directions.CountsItsCalls(), "repeatable", "llama", "asked twice, it asks something else"),
    Mutant(
        directions.ChangesThePrompt(),
        "hands off",
        "llama",
        "the prompts were changed while it was resolved: compute new ids",
    ),
)

ABLATIONS: Sequence[Mutant] = (
    Mutant(ablations.TakesAnotherWidth(), "fits", (), "one vector for all prompts"),
    Mutant(ablations.DrawsNoise(), "repeatable", (), "it gives something else"),
    Mutant(ablations.ZeroesInPlace(), "hands off", (), "changes the numbers that it is given"),
    Mutant(ablations.KeepsTheFirstMean(), "memory", (), "used on other numbers before"),
    Mutant(ablations.AveragesPadding(), "padding", (), "what stands in the padding"),
)

DICTIONARIES: Sequence[Mutant] = (
    Mutant(dictionaries.SubtractsInPlace(), "reads", (), "changes the activations that it is given"),
    Mutant(dictionaries.DividesZeroByZero(), "finite", (), "for an activation of zeros"),
    Mutant(dictionaries.FixesItsScale(), "memory", (), "off by .* from those of an unused"),
    Mutant(dictionaries.CapsTheFeatures(), "decode", (), "for features of any size"),
)

MUTANTS: Sequence[Mutant] = (*DECOMPOSERS, *ADAPTERS, *DIRECTIONS, *ABLATIONS, *DICTIONARIES)

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

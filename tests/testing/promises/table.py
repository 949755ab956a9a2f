"""The table: sentence, check, mutant. A sentence is known by its beginning, a mutant by its name in the tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from dla.adapters import Anatomy, Block, Heads, Mixture, ModelAdapter, Neurons, Sublayer, Unembedding, Values
from dla.adapters.affine import Affine
from dla.adapters.reads import HeadReads, NeuronReads, Read, StreamEntry
from dla.decomposers import Decomposer
from dla.directions import Direction, Directions, ResolvedDirection
from dla.edits import Ablation
from dla.engine.rules import Rule
from dla.inputs import Vocabulary
from dla.summaries import Interval
from dla.sweeps import Engine
from dla.writes import Norm, Route, Write
from dla.writes.dictionaries import Dictionary


@final
@dataclass(frozen=True)
class Promise:
    """A sentence of an interface.

    Attributes:
        begins: How it begins; no other sentence of the interface does.
        check: The law, or the step, that sees to it; empty for a sentence that only says what a word means.
        mutant: A mistake that breaks it, and that the check finds; empty where there is no check.
        unseen: Why nothing of the kit can see to it, and what does instead; empty where a check does.
    """

    begins: str
    check: str = ""
    mutant: str = ""
    unseen: str = ""


_DECOMPOSER = (
    Promise("A way to split"),
    Promise("Law: additive rows", "reconstruction", "ForgetsOutputBias"),
    Promise("Of cumulative rows", "reconstruction", "StopsBeforeTheLastBlock"),
    Promise("writes: The plan", "plan", "UsesOneNameTwice"),
    Promise("writes: Runs nothing", "plan", "RunsTheModelToPlan"),
)

_WRITE = (
    Promise("Parts of the residual stream"),
    Promise("Law: for any activations", "contract", "ContractsBeforeThePostNorm"),
    Promise("A write depends on", "contract", "KeepsAReadSecret"),
    Promise("contract:", "precision", "AddsInHalfPrecision"),
    Promise("labels:", "plan", "NamesMoreRowsThanThereAre"),
    Promise("reads:", "contract", "KeepsAReadSecret"),
    Promise("vectors:", "contract", "ContractsBeforeThePostNorm"),
)

_DIRECTION = (
    Promise("A linear function of the logits", "meaning", "AddsTheOtherToken"),
    Promise("Law: `resolve` is linear", "repeatable", "CountsItsCalls"),
    Promise("`a + b` reads", "repeatable", "CountsItsCalls"),
    Promise("needs_answers:", "resolves", "ReadsNothing"),
    Promise("describe:", "describes", "CountsInItsName"),
    Promise("resolve: The token ids", "positions", "CountsPositionsInTheAnswer"),
    Promise("resolve: A direction with", "resolves", "ReadsNothing"),
)

_RESOLVED = (
    Promise("A direction for some prompts", "resolves", "ReadsNothing"),
    Promise("ids:", "batch", "AsksForTheNextPromptsToken"),
    Promise("weights:", "resolves", "ReadsNothing"),
    Promise("vector:", "resolves", "ReadsNothing"),
    Promise("dense:", "resolves", "ReadsNothing"),
    Promise("at:", "resolves", "ReadsNowhere"),
    Promise("offset:", "meaning", "AddsTheOtherToken"),
)

_ADAPTER = (
    Promise("A model as an attribution needs it"),
    Promise("Law: when `run` calls", "block 0", "forgets_the_residual_multiplier"),
    Promise("anatomy: What the model"),
    Promise("anatomy: Found out once", "hands off", "ScalesWhatItLooksAt"),
    Promise("owns:", "cache", "OwnsNoCache"),
    Promise("run: One forward pass", "observers", "RecordsGradients"),
    Promise("run: tokens:", "hands off", "writes_to_the_ids"),
    Promise("run: observe:", "observers", "LeavesHooks"),
    Promise("run: rows:", "unembeds what is asked", "unembeds_the_first_prompts_positions"),
    Promise("run: The logits", "is causal", "answers_from_memory"),
    Promise("vocabulary:", "vocabulary", "DecodesTheNextToken"),
)

_ANATOMY = (
    Promise("What is known of a model"),
    Promise("name:", "anatomy", "has_no_name"),
    Promise("embeddings:", "embeddings", "forgets_the_embedding_scale"),
    Promise("blocks:", "block 0: labels", "counts_layers_from_one"),
    Promise("unembedding:", "unembedding", "drops_b_U"),
    Promise("eps:", "precision", "allows_anything"),
    Promise("dtype:", "precision", "allows_anything"),
    Promise("mismatches:", unseen="only the checkpoint can tell, tests/zoo/test_zoo_mismatches.py"),
    Promise("compatibility:", unseen="only TransformerLens can tell, tests/zoo/test_zoo_compatibility.py"),
)

_BLOCK = (
    Promise("One block", "block 0", "forgets_the_residual_multiplier"),
    Promise("sublayers:", "block 0", "forgets_the_residual_multiplier"),
    Promise("resid_pre:", "embeddings", "forgets_the_embedding_scale"),
    Promise("resid_mid:", "block 0: resid_mid", "takes_the_end_for_the_middle"),
    Promise("resid_post:", "block 0", "forgets_the_residual_multiplier"),
)

_SUBLAYER = (
    Promise("Something that a block adds"),
    Promise("write:", "block 0", "forgets_the_residual_multiplier"),
    Promise("heads:", "block 0: heads", "flattens_W_O_the_other_way"),
    Promise("neurons:", "block 0: neurons", "forgets_b_out"),
    Promise("experts:", "block 0: experts", "halves_experts"),
    Promise("outputs:", "block 0: outputs", "forgets_the_post_norm_of_outputs"),
    Promise("rounding:", "sum of sources", "forgets_rounding_of_sublayers"),
    Promise("reasons:", "block 0: outputs", "gives_a_reason_for_nothing"),
)

_HEADS = (
    Promise("An attention sublayer", "block 0: heads", "flattens_W_O_the_other_way"),
    Promise("label:", "block 0: labels", "counts_layers_from_one"),
    *(Promise(f"{name}:", "block 0: heads", "flattens_W_O_the_other_way") for name in ("z", "W_O", "b_O", "route")),
    Promise("values:", "block 0: values", "turns_the_pattern"),
    Promise("rounding:", "sum of sources", "forgets_rounding_of_heads"),
)

_VALUES = (
    Promise("What attention heads read", "block 0: values", "turns_the_pattern"),
    Promise("pattern:", "block 0: values", "turns_the_pattern"),
    Promise("v:", "block 0: values", "turns_the_pattern"),
    Promise("b_V:", "block 0: reads", "ForgetsAnotherB_V"),
    Promise("rounding:", "sum of sources", "forgets_rounding_of_values"),
)

_NEURONS = (
    Promise("An MLP sublayer", "block 0: neurons", "forgets_b_out"),
    Promise("label:", "block 0: labels", "counts_layers_from_one"),
    *(Promise(f"{name}:", "block 0: neurons", "forgets_b_out") for name in ("post", "W_out", "b_out", "route")),
    Promise("rounding:", "sum of neurons", "forgets_rounding_of_neurons"),
)

_MIXTURE = (
    Promise("A mixture of experts", "block 0: experts", "halves_experts"),
    Promise("label:", "block 0: labels", "counts_layers_from_one"),
    Promise("experts:", "block 0: experts", "halves_experts"),
    Promise("rounding:", "sum of experts", "forgets_rounding_of_experts"),
)

_UNEMBEDDING = (
    Promise("The readout"),
    Promise("norm:", "final norm", "drops_gamma"),
    *(Promise(f"{name}:", "unembedding", "drops_b_U") for name in ("W_U", "b_U", "normalised", "logits")),
    Promise("transform:", "output transform", "forgets_the_soft_cap"),
    Promise("multiplier:", "final norm", "drops_gamma"),
    Promise("rounding:", "sum of sources", "forgets_rounding_of_unembedding"),
    Promise("module:", "unembedding module", "unembeds_with_another_module"),
)

_NORM = (
    Promise("LayerNorm or RMSNorm", "final norm", "drops_gamma"),
    Promise("scale:", "final norm", "drops_gamma"),
    Promise("weight:", "final norm", "drops_gamma"),
    Promise("bias:", "final norm", "drops_gamma"),
    Promise("centred:", "final norm", "drops_gamma"),
    Promise("eps:", "final norm: scale", "takes_another_eps"),
)

_ROUTE = (
    Promise("What is between", "block 0: heads", "flattens_W_O_the_other_way"),
    Promise("norm:", "block 0: norm", "forgets_a_post_norms_eps"),
    Promise("multiplier:", "block 0", "forgets_the_residual_multiplier"),
)

_VOCABULARY = (
    Promise("A model's tokens."),
    Promise("size:", "vocabulary", "DecodesTheNextToken"),
    Promise("input_size:", "vocabulary", "DecodesTheNextToken"),
    Promise("encode:", "vocabulary", "DecodesTheNextToken"),
    Promise("None for a model without tokenizer", "vocabulary", "DecodesTheNextToken"),
    Promise("decode:", "vocabulary", "DecodesTheNextToken"),
    Promise("pad:", "unequal lengths", "pads_on_the_left"),
    Promise("pad_is_text:", "vocabulary", "PadsWithBOS"),
    Promise("If not, it is always padding", "vocabulary", "PadsWithBOS"),
    Promise("pads_left:", "unequal lengths", "pads_on_the_left"),
    Promise("unknown:", "vocabulary", "DecodesTheNextToken"),
    Promise("bos:", "vocabulary", "DecodesTheNextToken"),
    Promise("chat:", unseen="the tokenizer's own template, tests/inputs/test_chats.py"),
    Promise("decode_all:", unseen="what a tokenizer does with several ids, tests/decomposers/test_spans.py"),
)

_DICTIONARY = (
    Promise("Explains an activation", "decode", "CapsTheFeatures"),
    Promise("Here `f", "memory", "FixesItsScale"),
    Promise("An autoencoder reads", "decode", "CapsTheFeatures"),
    Promise("`scale` is 1", "decode", "CapsTheFeatures"),
    Promise("source: The", "finite", "DividesZeroByZero"),
    Promise("Its `encode`", "reads", "SubtractsInPlace"),
    *(Promise(f"{name}:", "reads", "SubtractsInPlace") for name in ("reads", "writes", "by_head")),
    *(Promise(f"{name}:", "decode", "CapsTheFeatures") for name in ("plain", "rates")),
)

_ABLATION = (
    Promise("What stands in the place"),
    Promise("Law: `replace` depends", "memory", "KeepsTheFirstMean"),
    Promise("replace: What the part", "fits", "TakesAnotherWidth"),
    Promise("replace: own:", "hands off", "ZeroesInPlace"),
    Promise("replace: other:", "repeatable", "DrawsNoise"),
    Promise("replace: ValueError", "fits", "TakesAnotherWidth"),
)

_AFFINE = (
    Promise("`x @ weight + bias`", "block 0: reads", "ReadsAnotherLayersValues"),
    *(Promise(f"{name}:", "block 0: reads", "ReadsAnotherLayersValues") for name in ("weight", "bias")),
)

_STREAM_ENTRY = tuple(
    Promise(begins, "block 0: reads", "ReadsAnotherLayersValues")
    for begins in ("How the residual stream", "stream:", "norm:", "shown_at:")
)

_HEAD_READS = (
    *(
        Promise(begins, "block 0: reads", "ReadsAnotherLayersValues")
        for begins in ("What attention heads read", "entry:", "values:")
    ),
    Promise("scores:", unseen="no decomposition reads them, tests/results/test_attention.py"),
)

_READ = (Promise("Numbers that a sublayer", "block 0: reads", "TakesTheUpForTheGate"),)

_NEURON_READS = tuple(
    Promise(begins, "block 0: reads", "TakesTheUpForTheGate")
    for begins in ("What neurons read", "entry:", "pre:", "up:", "bias:", "act:")
)

_RULE = (
    Promise("How a trace goes"),
    *(
        Promise(begins, unseen="the sums of a trace hold with any share, tests/results/test_trace.py")
        for begins in ("Law: whatever the rule", "frozen_gate:", "words:")
    ),
)

_DIRECTIONS = tuple(
    Promise(begins, unseen="no tool of the kit takes several, tests/directions/test_answers.py")
    for begins in (
        *("Several directions", "Law: the result's slice", "needs_answers:", "named:", "names_places:", "describe:"),
    )
)

_ENGINE = tuple(
    Promise(begins, unseen="it writes files, and is no part of an attribution, tests/sweeps/test_sweeps_ray.py")
    for begins in ("Where the work", "Law: every window", "results:")
)

_INTERVAL = tuple(
    Promise(begins, unseen="a share over many corpora, tests/summaries/test_summary_intervals.py")
    for begins in ("A confidence interval", "Law: over many", "level:", "bounds:")
)

PROMISES: Mapping[type, tuple[Promise, ...]] = {
    Decomposer: _DECOMPOSER,
    Write: _WRITE,
    Direction: _DIRECTION,
    ResolvedDirection: _RESOLVED,
    ModelAdapter: _ADAPTER,
    Anatomy: _ANATOMY,
    Block: _BLOCK,
    Sublayer: _SUBLAYER,
    Heads: _HEADS,
    Values: _VALUES,
    Neurons: _NEURONS,
    Mixture: _MIXTURE,
    Unembedding: _UNEMBEDDING,
    Norm: _NORM,
    Route: _ROUTE,
    Vocabulary: _VOCABULARY,
    Dictionary: _DICTIONARY,
    Ablation: _ABLATION,
    Affine: _AFFINE,
    StreamEntry: _STREAM_ENTRY,
    HeadReads: _HEAD_READS,
    Read: _READ,
    NeuronReads: _NEURON_READS,
    Rule: _RULE,
    Directions: _DIRECTIONS,
    Engine: _ENGINE,
    Interval: _INTERVAL,
}
"""What each interface promises."""

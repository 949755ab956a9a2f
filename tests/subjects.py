"""What is tested: models, decomposers, prompts. The one place that lists them."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from dictionaries import RandomFeatures
from hypothesis import strategies as st
from torch import Tensor

import dla
from dla.testing import TinyModel
from dla.testing.models import HOOKED, VOCABULARY_SIZE
from dla.testing.subjects import LINE

needs_hooked_transformer = pytest.mark.skipif(LINE >= 4, reason="TransformerLens 4 has no HookedTransformer")

DECOMPOSERS: tuple[dla.Decomposer, ...] = (
    dla.BiasDecomposer(),
    dla.BlockDecomposer(),
    dla.ComponentDecomposer(),
    dla.EmbeddingDecomposer(),
    dla.ExpertDecomposer(),
    dla.GroupDecomposer(dla.HeadDecomposer(), {"the first block": lambda label: label.layer == 0}),
    dla.HeadDecomposer(),
    dla.LayerDecomposer(),
    dla.LensDecomposer(),
    dla.HeadDecomposer() | dla.NeuronDecomposer(),
    dla.NeuronDecomposer(),
    dla.SourceDecomposer(),
    dla.SourceDecomposer(spans={"first": 0}),
    RandomFeatures(),
)

BRIDGED = (
    *("gpt2", "gpt2-untied", "gpt_neox", "gpt_neox-serial", "gptj", "opt", "opt-no-bias", "bloom"),
    *("falcon", "falcon-bias", "falcon-alibi", "llama", "llama-biases", "llama-tied", "mistral"),
    *("qwen2", "qwen3", "phi", "phi-grouped-query"),
)
"""The architectures that are promised, by their names in the catalogue."""

ROUTED = ("granite-biases", "gemma2", "olmo2", "cohere" if LINE >= 4 else "nanochat")
"""Architectures with multipliers, post-norms, a soft cap or a logit scale."""

IN_DOUBLE = ("gpt2", "gpt_neox", "gptj", "phi", "opt", "bloom", "falcon", "llama", "qwen3")

STEPS_IN_FLOAT32 = ("llama", "qwen", "mistral", "granite", "olmo", "gemma", "nanochat", "gpt_neox")
"""Architectures with a step in float32 whatever their dtype: Hugging Face's RMSNorm, a bridge's rotary embedding."""

NOT_PROCESSED = ("phi-grouped-query",)
"""Architectures for which TransformerLens' compatibility mode raises an error."""

TRANSFORMED: dict[str, Callable[[Tensor], Tensor]] = {
    "granite-biases": lambda logits: logits / 2.0,
    "gemma2": lambda logits: 2.0 * torch.tanh(logits / 2.0),
    "nanochat": lambda logits: 2.0 * torch.tanh(logits / 2.0),
    "cohere": lambda logits: logits * 0.5,
    "logits-soft-cap": lambda logits: 2.0 * torch.tanh(logits / 2.0),
    "logits-soft-cap-rms": lambda logits: 2.0 * torch.tanh(logits / 2.0),
}
"""What a model does to its logits before it returns them, written down by hand."""


def transformed(subject: TinyModel, logits: Tensor) -> Tensor:
    """What a model makes of its logits before it returns them."""
    if subject.name == "cohere" and subject.processed:  # compatibility mode folds the scale into W_U
        return logits
    return TRANSFORMED.get(subject.name, lambda x: x)(logits)


def as_given(subject: TinyModel, logits: Tensor) -> bool:
    """Whether the model returns the logits as the unembedding gives them."""
    return torch.equal(transformed(subject, logits), logits)


def eps_of(subject: TinyModel) -> float:
    """The rounding unit of the model's arithmetic, written down by hand."""
    rounds = subject.family == "bridge" and subject.name.startswith(STEPS_IN_FLOAT32)
    return torch.finfo(torch.float32 if rounds else subject.dtype).eps


def params(subjects: Sequence[TinyModel]) -> list[Any]:
    """The subjects as parameters of a test; those that need HookedTransformer are skipped where there is none."""
    return [
        pytest.param(s, id=str(s), marks=[needs_hooked_transformer] if s.family == "hooked" else []) for s in subjects
    ]


EXACT_HOOKED = tuple(entry.name for entry in HOOKED if entry.switches.get("attention_dir") != "bidirectional")

SUBJECTS: list[Any] = params(
    [TinyModel(name) for name in (*BRIDGED, *ROUTED)]
    + [TinyModel(name, processed=True) for name in (*BRIDGED, *ROUTED) if name not in NOT_PROCESSED]
    + [TinyModel(name, dtype=torch.float64) for name in IN_DOUBLE]
    + [TinyModel(name, "hooked", processed) for name in EXACT_HOOKED for processed in (False, True)]
    + [TinyModel(name, "hooked", dtype=torch.float64) for name in ("ln", "rms", "no-norm", "parallel")]
)
"""Every model that must be attributed exactly."""

FEW = (
    *(TinyModel(name) for name in ("gpt2", "gpt_neox", "llama", "phi", "olmo2", "granite-biases")),
    *(TinyModel(name, processed=True) for name in ("gpt2", "llama")),
    *(TinyModel("ln", "hooked"), TinyModel("ln", "hooked", True), TinyModel("gated-rms-rotary", "hooked")),
    *(TinyModel("parallel", "hooked"), TinyModel("attention-only-no-norm", "hooked")),
)
"""One of each kind, for promises that do not depend on the architecture's details."""

A_FEW: list[Any] = params(FEW)

GPT2, LLAMA = TinyModel("gpt2"), TinyModel("llama")
PROCESSED_GPT2, HOOKED_LN = TinyModel("gpt2", processed=True), TinyModel("ln", "hooked")
ONE_OF_EACH_CLASS: list[Any] = params([GPT2, LLAMA, PROCESSED_GPT2, HOOKED_LN])

each_subject = pytest.mark.parametrize("subject", SUBJECTS)
each_of_a_few = pytest.mark.parametrize("subject", A_FEW)
each_class = pytest.mark.parametrize("subject", ONE_OF_EACH_CLASS)
each_decomposer = pytest.mark.parametrize("decomposer", DECOMPOSERS, ids=lambda d: type(d).__name__)

# Every decomposer on a third of the subjects, other thirds in turn, and every one on the few that differ most.
PAIRS = [
    pytest.param(*subject.values, decomposer, id=f"{subject.id}-{type(decomposer).__name__}", marks=subject.marks)
    for i, subject in enumerate(SUBJECTS)
    for j, decomposer in enumerate(DECOMPOSERS)
    if (i + j) % 3 == 0 or subject.values[0] in FEW
]
each_pair = pytest.mark.parametrize(("subject", "decomposer"), PAIRS)

any_of_a_few = st.sampled_from([s for s in FEW if s.family == "bridge" or LINE < 4])
any_decomposer = st.sampled_from(DECOMPOSERS)


def some_tokens(seed: int, batch: int = 2, width: int = 6) -> Tensor:
    """Random ids of words; none of them is a special token."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, VOCABULARY_SIZE, (batch, width), generator=generator)


def some_ids(seed: int, *shape: int, size: int = VOCABULARY_SIZE) -> Tensor:
    """Random ids of tokens to ask about."""
    return torch.randint(size, shape, generator=torch.Generator().manual_seed(1000 + seed))


def picked(logits: Tensor, ids: Tensor) -> Tensor:
    """The logits `[batch pos vocabulary]` of one token for each prompt and position."""
    return logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1)


def cached(model: Any, tokens: Any) -> Any:
    """What every hook of a model shows."""
    with torch.no_grad():
        return model.run_with_cache(tokens)[1]

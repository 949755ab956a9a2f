"""What is tested: models, decomposers, prompts. The one place that lists them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, Literal, final

import pytest
import torch
from dictionaries import RandomFeatures
from hypothesis import strategies as st
from torch import Tensor

import dla
from dla.testing.models import HOOKED, VOCABULARY_SIZE, architecture, hooked_architecture

LINE = int(version("transformer-lens").split(".")[0])
"""The major version of TransformerLens."""

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

ROUNDING = ("llama", "qwen", "mistral", "granite", "olmo", "gemma", "nanochat", "gpt_neox")
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


@final
@dataclass(frozen=True)
class Subject:
    """One model to attribute.

    Attributes:
        family: The model class.
        name: The architecture's name in the catalogue.
        mode: "raw" as it boots or is built; "processed" with its weights processed, or in compatibility mode.
        dtype: Of the parameters.
    """

    family: Literal["hooked", "bridge"]
    name: str
    mode: Literal["raw", "processed"] = "raw"
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        double = ["double"] if self.dtype == torch.float64 else []
        return "-".join([self.family, self.name, self.mode, *double])

    def model(self, seed: int = 0) -> Any:
        """The model, built once a session; tests must leave it as they found it."""
        return _built(self, seed)

    def fresh(self, seed: int = 0) -> Any:
        """A model of the test's own."""
        if self.family == "hooked":
            return hooked_architecture(self.name).model(seed, self.dtype, processed=self.mode == "processed")
        return architecture(self.name).bridge("raw" if self.mode == "raw" else "compatibility", seed, self.dtype)

    def logits(self, tokens: Tensor, seed: int = 0) -> Tensor:
        """The model's own logits, without a line of ours: of a raw bridge, those of an untouched Hugging Face model."""
        with torch.no_grad():
            if self.family == "bridge" and self.mode == "raw":
                logits: Tensor = _hugging_face(self.name, seed, self.dtype)(tokens).logits
                return logits
            return self.model(seed)(tokens)

    def transform(self, logits: Tensor) -> Tensor:
        """What the model does to its logits before it returns them."""
        if (self.name, self.mode) == ("cohere", "processed"):  # compatibility mode folds the scale into W_U
            return logits
        return TRANSFORMED.get(self.name, lambda x: x)(logits)

    @property
    def eps(self) -> float:
        """The rounding unit of the model's arithmetic."""
        rounds = self.family == "bridge" and self.name.startswith(ROUNDING)
        return torch.finfo(torch.float32 if rounds else self.dtype).eps


@cache
def _built(subject: Subject, seed: int) -> Any:
    return subject.fresh(seed)


@cache
def _hugging_face(name: str, seed: int, dtype: torch.dtype) -> Any:
    return architecture(name).hugging_face(seed, dtype)


def params(subjects: list[Subject]) -> list[Any]:
    """The subjects as parameters of a test; those that need HookedTransformer are skipped where there is none."""
    return [
        pytest.param(s, id=str(s), marks=[needs_hooked_transformer] if s.family == "hooked" else []) for s in subjects
    ]


EXACT_HOOKED = tuple(entry.name for entry in HOOKED if entry.switches.get("attention_dir") != "bidirectional")

SUBJECTS: list[Any] = params(
    [Subject("bridge", name) for name in (*BRIDGED, *ROUTED)]
    + [Subject("bridge", name, "processed") for name in (*BRIDGED, *ROUTED) if name not in NOT_PROCESSED]
    + [Subject("bridge", name, dtype=torch.float64) for name in IN_DOUBLE]
    + [Subject("hooked", name, mode) for name in EXACT_HOOKED for mode in ("raw", "processed")]
    + [Subject("hooked", name, dtype=torch.float64) for name in ("ln", "rms", "no-norm", "parallel")]
)
"""Every model that must be attributed exactly."""

FEW = (
    *(Subject("bridge", name) for name in ("gpt2", "gpt_neox", "llama", "phi", "olmo2", "granite-biases")),
    *(Subject("bridge", name, "processed") for name in ("gpt2", "llama")),
    *(Subject("hooked", "ln"), Subject("hooked", "ln", "processed"), Subject("hooked", "gated-rms-rotary")),
    *(Subject("hooked", "parallel"), Subject("hooked", "attention-only-no-norm")),
)
"""One of each kind, for promises that do not depend on the architecture's details."""

A_FEW: list[Any] = params(list(FEW))

GPT2 = Subject("bridge", "gpt2")
LLAMA = Subject("bridge", "llama")

each_subject = pytest.mark.parametrize("subject", SUBJECTS)
each_of_a_few = pytest.mark.parametrize("subject", A_FEW)
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

"""On what a decomposer is tried: which models and prompts, for a full check and for a quick one."""

import enum
from collections.abc import Sequence

import torch

from dla.testing.laws.case import Models
from dla.testing.subjects import LINE, Subject, TinyModel


class Profile(enum.Enum):
    """How much is tried."""

    FULL = "full"
    """Every switch of architecture that a mistake may hide behind: under a minute."""

    QUICK = "quick"
    """A few models that show most mistakes: some seconds."""


_QUICK = (
    TinyModel("gpt2", n_layers=3),
    TinyModel("llama-biases"),
    TinyModel("olmo2"),
    TinyModel("granite-biases"),
    TinyModel("mixtral"),
    TinyModel("gemma4_text"),
    TinyModel("llama-eight-heads"),
    TinyModel("llama-wide-output"),
)

_FULL = (
    *(
        TinyModel(name)
        for name in ("gpt2", "gpt_neox", "gptj", "bloom", "phi-grouped-query", "falcon-alibi", "opt-no-bias")
    ),
    *(TinyModel(name) for name in ("llama", "llama-biases", "qwen3", "olmo2", "granite-biases", "gemma2", "mixtral")),
    *(TinyModel(name) for name in ("gemma4_text", "llama-eight-heads", "llama-wide-output")),
    *(TinyModel(name, processed=True) for name in ("gpt2", "llama")),
    TinyModel("gpt2", dtype=torch.float64),
    TinyModel("gpt2", n_layers=3, seed=1),
)
"""LayerNorm and RMSNorm; serial and parallel; biases or none; grouped queries; ALiBi, rotary, learned positions; an
embedding norm; norms after sublayers; multipliers; 1 + w; a soft cap; experts; a stream that blocks rescale; another
number of heads, of logits; raw, folded and centred."""

_HOOKED = (
    *(
        TinyModel(name, "hooked")
        for name in ("ln", "rms", "parallel", "attention-only-no-norm", "grouped-query-rms-rotary")
    ),
    *(TinyModel(name, "hooked") for name in ("norm-after-rms", "experts-rms-rotary", "logits-soft-cap", "sinks")),
    TinyModel("output-vocabulary", "hooked"),
    *(TinyModel(name, "hooked", processed=True) for name in ("ln", "rms")),
)

_QUICK_HOOKED = (
    TinyModel("ln", "hooked"),
    TinyModel("norm-after-rms", "hooked"),
)

_FEW = (TinyModel("gpt2"), TinyModel("olmo2"), TinyModel("mixtral"))
"""For laws that no architecture hides: LayerNorm and RMSNorm, biases or none, a norm after sublayers, experts."""

_BITS = (
    TinyModel("gpt2", dtype=torch.float64),
    TinyModel("gpt2", dtype=torch.bfloat16),
    TinyModel("llama", dtype=torch.bfloat16),
)
"""For the law about the precision of sums."""


def subjects_of(profile: Profile, models: Models = Models.ALL) -> Sequence[Subject]:
    """The models of a profile for a law: of both classes where TransformerLens has both."""
    quick = profile is Profile.QUICK
    if models is Models.FEW:
        return _FEW
    if models is Models.DTYPES:
        return _BITS[:2] if quick else _BITS
    hooked = () if LINE >= 4 else _QUICK_HOOKED if quick else _HOOKED
    return (*(_QUICK if quick else _FULL), *hooked)

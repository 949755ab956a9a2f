"""Tiny Hugging Face models, one for each architecture and each of its switches that matter."""

from dla.testing.models.hugging_face.architecture import HuggingFaceArchitecture, Kind, Mode, bridge_of
from dla.testing.models.hugging_face.gemma import GEMMA
from dla.testing.models.hugging_face.gpt import GPT
from dla.testing.models.hugging_face.hybrid import HYBRID, RECURRENT
from dla.testing.models.hugging_face.llama import LAYER_NORM, LLAMA_LIKE, WIDE_OUTPUT
from dla.testing.models.hugging_face.mixtures import LATENT_ATTENTION, MIXTURES
from dla.testing.models.hugging_face.refused import REFUSED

__all__ = ["HUGGING_FACE", "REFUSED", "WIDE_OUTPUT", "HuggingFaceArchitecture", "Kind", "Mode", "bridge_of"]

HUGGING_FACE: tuple[HuggingFaceArchitecture, ...] = (
    *GPT,
    *LLAMA_LIKE,
    *LAYER_NORM,
    *GEMMA,
    *MIXTURES,
    *LATENT_ATTENTION,
    *HYBRID,
    *RECURRENT,
)
"""All causal language models of the catalogue."""

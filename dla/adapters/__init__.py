"""How each model class is run, and what is known of a model; the only room that knows hook names."""

from typing import Any

from dla.adapters.anatomy import Anatomy, Block, Heads, Mixture, Neurons, PieceKind, Sublayer, Values
from dla.adapters.base import ModelAdapter, Observer
from dla.adapters.hooked_transformer import HookedTransformerAdapter
from dla.adapters.modules import hook_points_of, norm_of, run_module
from dla.adapters.transformer_bridge import TransformerBridgeAdapter
from dla.adapters.unembedding import Unembedding
from dla.errors import UnsupportedModelError
from dla.inputs.given import is_a

__all__ = [
    "Anatomy",
    "Block",
    "Heads",
    "HookedTransformerAdapter",
    "Mixture",
    "ModelAdapter",
    "Neurons",
    "Observer",
    "PieceKind",
    "Sublayer",
    "TransformerBridgeAdapter",
    "Unembedding",
    "Values",
    "adapt",
    "hook_points_of",
    "in_compatibility_mode",
    "norm_of",
    "run_module",
]


def adapt(model: Any) -> ModelAdapter:
    """The adapter for a model.

    Args:
        model: A `HookedTransformer` (TransformerLens 3.x) or a `TransformerBridge`, or an adapter, returned as it is.

    Raises:
        UnsupportedModelError: If the model is none of these, or a bridge without a plain stack of blocks.
    """
    if isinstance(model, ModelAdapter):
        return model
    if _is_bridge(model):
        return TransformerBridgeAdapter(model)
    if _is_hooked_transformer(model):
        return HookedTransformerAdapter(model)
    raise UnsupportedModelError(
        f"{type(model).__name__} is neither a HookedTransformer nor a TransformerBridge. Load the model with "
        "TransformerBridge.boot_transformers, or write a ModelAdapter for it."
    )


def in_compatibility_mode(model: Any) -> bool:
    """Whether a model has TransformerLens' own conventions: a `HookedTransformer`, or a bridge in that mode."""
    return not _is_bridge(model) or bool(getattr(model, "compatibility_mode", False))


def _is_bridge(model: Any) -> bool:
    return is_a(model, "transformer_lens.model_bridge", "TransformerBridge")


def _is_hooked_transformer(model: Any) -> bool:
    # By name, since TransformerLens 4 has no such class to import.
    kinds = type(model).__mro__
    return any(k.__name__ == "HookedTransformer" and k.__module__.startswith("transformer_lens") for k in kinds)

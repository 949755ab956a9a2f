"""How each model class is run, and what is known of a model; the only room that knows hook names."""

from typing import Any

from dla.adapters.anatomy import Anatomy, Block, Heads, Mixture, Neurons, PieceKind, Sublayer, Values
from dla.adapters.base import ModelAdapter, Observer
from dla.adapters.hooked_transformer import HookedTransformerAdapter, is_hooked_transformer
from dla.adapters.modules import hook_points_of, norm_of, run_module
from dla.adapters.transformer_bridge import TransformerBridgeAdapter, is_bridge
from dla.adapters.unembedding import Unembedding
from dla.errors import UnsupportedModelError

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
    if is_bridge(model):
        return TransformerBridgeAdapter(model)
    if is_hooked_transformer(model):
        return HookedTransformerAdapter(model)
    raise UnsupportedModelError(
        f"{type(model).__name__} is neither a HookedTransformer nor a TransformerBridge. Load the model with "
        "TransformerBridge.boot_transformers, or write a ModelAdapter for it."
    )


def in_compatibility_mode(model: Any) -> bool:
    """Whether a model has TransformerLens' own conventions: a `HookedTransformer`, or a bridge in that mode."""
    return not is_bridge(model) or bool(getattr(model, "compatibility_mode", False))

"""Adapters: the only files that know TransformerLens."""

from typing import Any

from transformer_lens.model_bridge import TransformerBridge

from dla.adapters.base import ModelAdapter
from dla.adapters.hooked_transformer import HookedTransformerAdapter
from dla.adapters.transformer_bridge import TransformerBridgeAdapter
from dla.errors import UnsupportedModelError

__all__ = ["HookedTransformerAdapter", "ModelAdapter", "TransformerBridgeAdapter", "adapt"]


def adapt(model: Any) -> ModelAdapter:
    """The adapter for a model.

    Args:
        model: A `HookedTransformer` (TransformerLens 3.x) or a `TransformerBridge`, or an adapter, returned as it is.

    Raises:
        UnsupportedModelError: If the model is neither, or cannot be attributed exactly. Says why.
    """
    if isinstance(model, ModelAdapter):
        return model
    if isinstance(model, TransformerBridge):
        return TransformerBridgeAdapter(model)
    if _is_hooked_transformer(model):
        return HookedTransformerAdapter(model)
    raise UnsupportedModelError(
        f"{type(model).__name__} is neither a HookedTransformer nor a TransformerBridge. Load the model with "
        "TransformerBridge.boot_transformers, or write a ModelAdapter for it."
    )


def _is_hooked_transformer(model: Any) -> bool:
    # TransformerLens 4 has no such class, and asking its package for the name raises ImportError.
    return any(c.__name__ == "HookedTransformer" and c.__module__.startswith("transformer_lens") for c in type(model).__mro__)

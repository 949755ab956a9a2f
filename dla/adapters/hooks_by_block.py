"""Which of the user's hooks are on a stretch of the stream: in the embeddings, in or after a block, in the readout."""

from collections.abc import Sequence

from dla.adapters.base import ModelAdapter
from dla.adapters.user_hooks import EVERYWHERE, UserHook

_READOUT = ("ln_final", "unembed", "hook_unembed")
_START = ("embed", "pos_embed", "rotary_emb", "hook_embed", "hook_pos_embed", "hook_tokens")


def hooks_at_start(hooks: Sequence[UserHook], model: ModelAdapter) -> list[UserHook]:
    """The hooks before the stream that enters the first block is read."""
    return [h for h in hooks if _enters(h, 0, model) or (h.layer is None and not _begins(h, _READOUT))]


def hooks_in_block(hooks: Sequence[UserHook], layer: int, model: ModelAdapter) -> list[UserHook]:
    """The hooks between the stream that enters a block and the one that leaves it.

    Args:
        hooks: The hooks.
        layer: The block.
        model: The model.
    """
    inside = [h for h in hooks if h.layer == layer and not _enters(h, layer, model)]
    return [*inside, *(h for h in hooks if h.place == EVERYWHERE)]


def hooks_between(hooks: Sequence[UserHook], layer: int, model: ModelAdapter) -> list[UserHook]:
    """The hooks between the stream that leaves a block and the one that enters the next.

    Args:
        hooks: The hooks.
        layer: The block.
        model: The model.
    """
    return [h for h in hooks if _is_block(h, layer) or _enters(h, layer + 1, model) or h.place == EVERYWHERE]


def hooks_at_readout(hooks: Sequence[UserHook], model: ModelAdapter) -> list[UserHook]:
    """The hooks after the stream that leaves the last block is read."""
    return [h for h in hooks if _is_block(h, model.n_layers - 1) or (h.layer is None and not _begins(h, _START))]


# A hook at the very place where a stream is read comes before the reading: it belongs to the stretch that ends there.
def _enters(hook: UserHook, layer: int, model: ModelAdapter) -> bool:
    return model.block(layer).resid_pre.site.name in hook.names or _is_block(hook, layer)


def _is_block(hook: UserHook, layer: int) -> bool:
    return hook.place == f"blocks.{layer}"


def _begins(hook: UserHook, names: Sequence[str]) -> bool:
    return hook.place.split(".")[0] in names

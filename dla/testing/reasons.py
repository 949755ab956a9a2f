"""Why a block of a model was found to have no heads, or no neurons."""

from dla.adapters.anatomy import Anatomy

_HOOKS = {"heads": "hook_z or W_O", "neurons": "hook_post or W_out"}


def reason_of(anatomy: Anatomy, layer: int, kind: str) -> str:
    """What to say of a block without heads or neurons.

    Args:
        anatomy: The model's.
        layer: The block.
        kind: "heads" or "neurons".
    """
    found = [sublayer.whole[kind] for sublayer in anatomy.blocks[layer].sublayers if kind in sublayer.whole]
    return "none: " + ("; ".join(found) or f"no module of this block has {_HOOKS[kind]}")

"""Why a block of a model was found to have no heads, or no neurons."""

from dla.adapters.anatomy import Anatomy

_PIECES = {"heads": ("attention heads", "hook_z or W_O"), "neurons": ("neurons", "hook_post or W_out")}


def reason_of(anatomy: Anatomy, layer: int, kind: str) -> str:
    """What to say of a block without heads or neurons.

    Args:
        anatomy: The model's.
        layer: The block.
        kind: "heads" or "neurons".
    """
    what, hooks = _PIECES[kind]
    found = [sublayer.reasons[what] for sublayer in anatomy.blocks[layer].sublayers if what in sublayer.reasons]
    return "none: " + ("; ".join(found) or f"no module of this block has {hooks}")

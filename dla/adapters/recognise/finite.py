"""Whether the logits of a model are finite, and if not, which hook shows it first."""

from collections.abc import Iterator

import torch
from jaxtyping import Shaped
from torch import Tensor

from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.recognise.recording import Recording
from dla.errors import UnsupportedModelError


def check_finite(model: ModelModules, recording: Recording) -> None:
    """Refuses a model whose logits are not finite.

    Raises:
        UnsupportedModelError: If one is not; names the first hook that shows it, and the likely cause.
    """
    if bool(recording.logits.isfinite().all()):
        return
    hook = next((name for name, seen in recording.hooks.items() if _breaks(name, seen)), None)
    where = "" if hook is None else f" {hook} is the first hook that shows it."
    weight = next(_broken_weights(model), None)
    cause = "Look for a hook that edits it."
    if weight is not None:
        cause = f"The weight {weight} holds some: load the model again, and see what edited it."
    elif any(seen.dtype == torch.float16 for seen in recording.hooks.values()):
        cause = "In float16 large activations overflow: load the model in bfloat16 or float32."
    raise UnsupportedModelError(
        f"The model's logits are not finite: it makes NaN or infinity of {recording.tokens.shape[1]} tokens."
        f"{where} {cause}"
    )


def _breaks(name: str, seen: Shaped[Tensor, "..."]) -> bool:
    if not seen.is_floating_point():
        return False
    broken = ~seen.isfinite()
    if name.endswith("attn_scores"):  # masked positions are -inf
        broken &= ~seen.isneginf()
    return bool(broken.any())


def _broken_weights(model: ModelModules) -> Iterator[str]:
    for path, module in model.by_path().items():
        for name, weight in module.named_parameters():
            if weight.is_floating_point() and not weight.is_meta and not bool(weight.isfinite().all()):
                yield f"{path}.{name.replace('_original_component.', '')}"

"""`HookedTransformer`, TransformerLens 3.x."""

from collections.abc import Callable
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.transformer_lens import TransformerLensAdapter
from dla.errors import UnsupportedModelError
from dla.inputs.given import shown
from dla.provenance import model_name


def is_hooked_transformer(model: object) -> bool:
    """Whether a model is TransformerLens' own, of 3.x."""
    # By name, since TransformerLens 4 has no such class to import.
    kinds = type(model).__mro__
    return any(k.__name__ == "HookedTransformer" and k.__module__.startswith("transformer_lens") for k in kinds)


@final
class HookedTransformerAdapter(TransformerLensAdapter):
    """Runs a `HookedTransformer`, processed or not."""

    def __init__(self, model: Any) -> None:
        """Takes the model as it is; nothing runs yet.

        Args:
            model: A `HookedTransformer` in evaluation mode.

        Raises:
            UnsupportedModelError: If it is none.
        """
        if not is_hooked_transformer(model):
            raise UnsupportedModelError(
                f"{shown(model)} is not a HookedTransformer. Pass one, or call dla.adapt(model)."
            )
        super().__init__(model, lambda: model.hook_dict)

    def _forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch query d_vocab"]:
        # Prompts are padded on the right here, whatever the tokenizer does; the model would mask the wrong tokens.
        logits: Tensor = self._model(tokens, return_type="logits", padding_side="right")
        return logits

    def _modules(self) -> ModelModules:
        model, cfg = self._model, self._model.cfg
        cap = cfg.output_logits_soft_cap
        transforms: list[Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]] = [lambda x: x]
        if cap > 0:
            transforms.append(lambda x: cap * torch.tanh(x / cap))
        return ModelModules(
            name=model_name(cfg.model_name or "HookedTransformer"),
            blocks=list(model.blocks),
            ln_final=None if cfg.normalization_type is None else model.ln_final,
            unembed=model.unembed,
            centred=str(cfg.normalization_type).startswith("LN"),
            transforms=transforms,
        )

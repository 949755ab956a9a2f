"""`HookedTransformer`, TransformerLens 3.x."""

from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dla.adapters.anatomy import Anatomy
from dla.adapters.base import ModelAdapter, Observer
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.running import AnatomyCache, HookMap, answers_of, context_length, run_observed
from dla.adapters.tokenizers import vocabulary_of
from dla.inputs.vocabulary import Vocabulary


@final
class HookedTransformerAdapter(ModelAdapter):
    """Runs a `HookedTransformer`, processed or not. Its anatomy is found by looking, not by its configuration."""

    def __init__(self, model: Any) -> None:
        """Takes the model as it is; nothing runs yet.

        Args:
            model: A `HookedTransformer` in evaluation mode.
        """
        self._model = model
        self._hook_points = HookMap(model, lambda: model.hook_dict)
        self._d_vocab = answers_of(model)
        self._anatomy = AnatomyCache(model, self._hook_points, self._parts, self._forward)

    @property
    def anatomy(self) -> Anatomy:
        return self._anatomy.get()

    @property
    def vocabulary(self) -> Vocabulary:
        return vocabulary_of(self._model, self._d_vocab)  # the tokenizer may be told to pad otherwise meanwhile

    def run(
        self,
        tokens: Int[Tensor, "batch pos"],
        observe: Mapping[str, Observer],
        rows: Int[Tensor, "batch query"] | None,
    ) -> Float[Tensor, "batch query d_vocab"]:
        return run_observed(self._model, self._hook_points, self._forward, tokens, observe, rows)

    @property
    def source(self) -> Any:
        """The model itself."""
        return self._model

    @property
    def context(self) -> int | None:
        """How many tokens a prompt may have; None where the model sets no limit."""
        return context_length(self._model)

    def tensors(self) -> list[tuple[str, Tensor]]:
        """Every parameter and buffer, by name."""
        return [*self._model.named_parameters(), *self._model.named_buffers()]

    def is_current(self, anatomy: Anatomy) -> bool:
        """Whether an anatomy was found with the very weights that the model has now."""
        return self._anatomy.is_current(anatomy)

    def owns(self, cache: Any) -> bool:
        return getattr(cache, "model", self._model) is self._model

    def _forward(self, tokens: Int[Tensor, "batch pos"]) -> Tensor:
        # The tokens are packed to the left: a tokenizer that pads on the left must not make the model mask them.
        logits: Tensor = self._model(tokens, return_type="logits", padding_side="right")
        return logits

    def _final_norm(self) -> nn.Module | None:
        norm: nn.Module | None = None if self._model.cfg.normalization_type is None else self._model.ln_final
        return norm

    def _parts(self) -> ModelModules:
        model, cfg = self._model, self._model.cfg
        cap = cfg.output_logits_soft_cap
        transforms: list[Callable[[Tensor], Tensor]] = [lambda x: x]
        if cap > 0:
            transforms.append(lambda x: cap * torch.tanh(x / cap))
        return ModelModules(
            name=cfg.model_name or "HookedTransformer",
            blocks=list(model.blocks),
            ln_final=self._final_norm(),
            unembed=model.unembed,
            centred=str(cfg.normalization_type).startswith("LN"),
            transforms=transforms,
        )

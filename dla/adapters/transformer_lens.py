"""What the adapters of TransformerLens' two model classes share: all but the call of the model and its modules."""

import abc
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dla.adapters.anatomy import Anatomy
from dla.adapters.base import Editing, ModelAdapter, Observer
from dla.adapters.reads import ModelReads
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.recognise.offloaded import offloaded_weights
from dla.adapters.running import AnatomyCache, HookMap, check_runnable, context_length, device_of, output_size
from dla.adapters.tokenizers import vocabulary_of
from dla.adapters.user_hooks import is_readout_hooked
from dla.adapters.watching import changing, keeping_rows, watching
from dla.inputs.vocabulary import Vocabulary
from dla.writes.sites import take_rows


class TransformerLensAdapter(ModelAdapter):
    """A model of TransformerLens as it is; its anatomy is recognised from a forward pass, not from its configuration.

    Law: `_forward` returns the logits of a plain call of the model, and `_modules` are the modules that the call runs.
    """

    def __init__(self, model: Any, hook_points: Callable[[], Mapping[str, nn.Module]]) -> None:
        """Takes the model as it is; nothing runs yet.

        Args:
            model: The model, in evaluation mode.
            hook_points: Gives its hook points by name, aliases included.
        """
        self._model = model
        self._hook_points = HookMap(model, hook_points)
        self._d_vocab = output_size(model)
        self._anatomy = AnatomyCache(model, self._hook_points, self._modules, self._forward)

    @abc.abstractmethod
    def _forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch query d_vocab"]:
        """One call of the model, which unembeds all positions unless hooks say otherwise."""

    @abc.abstractmethod
    def _modules(self) -> ModelModules:
        """Where its norms, blocks and unembedding are."""

    @property
    def anatomy(self) -> Anatomy:
        return self._anatomy.get()

    @final
    @property
    def reads(self) -> ModelReads:
        return self._anatomy.reads()

    @final
    @property
    def vocabulary(self) -> Vocabulary:
        return vocabulary_of(self._model, self._d_vocab)  # every time, since users change how the tokenizer pads

    @final
    @property
    def source(self) -> Any:
        return self._model

    @final
    @property
    def context(self) -> int | None:
        return context_length(self._model)

    @final
    def tensors(self) -> list[tuple[str, Float[Tensor, "..."]]]:
        with offloaded_weights(self._model):
            return [*self._model.named_parameters(), *self._model.named_buffers()]

    @final
    def is_current(self, anatomy: Anatomy) -> bool:
        return self._anatomy.is_current(anatomy)

    @final
    def owns(self, cache: Any) -> bool:
        return getattr(cache, "model", self._model) is self._model

    @final
    def editing(self, changes: Mapping[str, Editing]) -> AbstractContextManager[None]:
        return changing(self._hook_points.get(), changes)

    @final
    def generate(self, tokens: Sequence[int], n: int, options: Mapping[str, Any]) -> list[int]:
        ids = torch.tensor([list(tokens)], device=device_of(self._model))
        known = self._model.tokenizer is not None and self._model.tokenizer.eos_token_id is not None
        options = {**options, "stop_at_eos": options["stop_at_eos"] and known}
        with torch.no_grad():
            written: Tensor = self._model.generate(
                ids, max_new_tokens=n, return_type="tokens", verbose=False, **options
            )
        new: list[int] = written[0, len(tokens) :].tolist()
        return new

    @final
    def run(
        self,
        tokens: Int[Tensor, "batch pos"],
        observe: Mapping[str, Observer],
        rows: Int[Tensor, "batch query"] | None,
    ) -> Float[Tensor, "batch query d_vocab"]:
        check_runnable(self._model, tokens)
        # A hook of the user's that sees logits may index them by position, so it must see all positions.
        whole = rows is not None and is_readout_hooked(self._model, self._model.unembed)
        unembedded = keeping_rows(self._model.unembed, None if whole else rows)
        with torch.no_grad(), watching(self._hook_points.get(), observe), unembedded:
            logits = self._forward(tokens)
        return take_rows(logits, rows, 1) if whole and rows is not None else logits

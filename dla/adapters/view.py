"""A model whose anatomy is settled: looked at once, however often it is asked for, or only a part of it."""

from collections.abc import Mapping
from typing import Any, final

from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters.anatomy import Anatomy
from dla.adapters.base import ModelAdapter, Observer
from dla.adapters.hooked_transformer import HookedTransformerAdapter
from dla.adapters.transformer_bridge import TransformerBridgeAdapter
from dla.inputs.vocabulary import Vocabulary


@final
class AdapterView(ModelAdapter):
    """A model as it was when it was looked at. Only the model itself notices that its weights are others now."""

    def __init__(self, model: ModelAdapter, anatomy: Anatomy, whole: Anatomy | None = None) -> None:
        """Takes what was found.

        Args:
            model: The model, which runs.
            anatomy: Its anatomy, or that of a part of it.
            whole: The anatomy of all of it; None where that is the same.
        """
        self._model, self._anatomy = model, anatomy
        self._whole = anatomy if whole is None else whole

    @property
    def is_current(self) -> bool:
        """Whether the model has the very weights that it was looked at with; True where it does not tell."""
        if isinstance(self._model, HookedTransformerAdapter | TransformerBridgeAdapter):
            return self._model.is_current(self._whole)
        return True

    @property
    def anatomy(self) -> Anatomy:
        return self._anatomy

    @property
    def vocabulary(self) -> Vocabulary:
        return self._model.vocabulary

    def run(
        self,
        tokens: Int[Tensor, "batch pos"],
        observe: Mapping[str, Observer],
        rows: Int[Tensor, "batch query"] | None,
    ) -> Float[Tensor, "batch query d_vocab"]:
        return self._model.run(tokens, observe, rows)

    def owns(self, cache: Any) -> bool:
        return self._model.owns(cache)

"""A model whose anatomy is settled: looked at once, however often it is asked for, or only a part of it."""

from collections.abc import Mapping
from typing import Any, final

from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters.anatomy import Anatomy
from dla.adapters.base import ModelAdapter, Observer
from dla.vocabulary import Vocabulary


@final
class Settled(ModelAdapter):
    """A model as it was when it was looked at. Only the model itself notices that its weights are others now."""

    def __init__(self, model: ModelAdapter, anatomy: Anatomy) -> None:
        """Takes what was found.

        Args:
            model: The model, which runs.
            anatomy: Its anatomy.
        """
        self._model, self._anatomy = model, anatomy

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
        rows: Int[Tensor, "batch kept"] | None,
    ) -> Float[Tensor, "batch kept d_vocab"]:
        return self._model.run(tokens, observe, rows)

    def owns(self, cache: Any) -> bool:
        return self._model.owns(cache)

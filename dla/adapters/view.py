"""A model with a fixed anatomy: that of all of it, or of a part."""

from collections.abc import Mapping
from typing import Any, final

from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters.anatomy import Anatomy
from dla.adapters.base import ModelAdapter, Observer
from dla.adapters.reads import ModelReads
from dla.inputs.vocabulary import Vocabulary


@final
class AdapterView(ModelAdapter):
    """A model with the anatomy that it had when the view was made; only `is_current` looks at the model again."""

    def __init__(self, model: ModelAdapter, anatomy: Anatomy, whole: Anatomy | None = None) -> None:
        """Keeps the model and its anatomy.

        Args:
            model: The model, which runs.
            anatomy: Its anatomy, or that of a part of it.
            whole: The anatomy of all of it; None if that is `anatomy`.
        """
        self._model, self._anatomy = model, anatomy
        self._whole = anatomy if whole is None else whole

    @property
    def anatomy(self) -> Anatomy:
        return self._anatomy

    @property
    def reads(self) -> ModelReads | None:
        return self._model.reads

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

    @property
    def source(self) -> Any:
        return self._model.source

    @property
    def context(self) -> int | None:
        return self._model.context

    def tensors(self) -> list[tuple[str, Float[Tensor, "..."]]]:
        return self._model.tensors()

    def is_current(self, anatomy: Anatomy) -> bool:
        return anatomy is self._anatomy and self._model.is_current(self._whole)

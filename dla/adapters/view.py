"""A model with a fixed anatomy: that of all of it, or of a part."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, final

from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters.anatomy import Anatomy
from dla.adapters.base import Editing, ModelAdapter, Observer
from dla.adapters.reads import ModelReads
from dla.inputs.vocabulary import Vocabulary

Run = Callable[
    [ModelAdapter, Int[Tensor, "batch pos"], Mapping[str, Observer], Int[Tensor, "batch query"] | None],
    Float[Tensor, "batch query d_vocab"],
]
"""`run(model, tokens, observe, rows)`, in the place of `model.run(tokens, observe, rows)`."""


@final
class AdapterView(ModelAdapter):
    """A model with the anatomy that it had when the view was made; only `is_current` looks at the model again."""

    def __init__(
        self, model: ModelAdapter, anatomy: Anatomy, whole: Anatomy | None = None, run: Run | None = None
    ) -> None:
        """Keeps the model and its anatomy.

        Args:
            model: The model, which runs.
            anatomy: Its anatomy, or that of a part of it.
            whole: The anatomy of all of it; None if that is `anatomy`.
            run: How it runs; None if it runs as it does.
        """
        self._model, self._anatomy, self._run = model, anatomy, run
        self._whole = anatomy if whole is None else whole

    @property
    def anatomy(self) -> Anatomy:
        return self._anatomy

    @property
    def runs(self) -> Run | None:
        """How it runs; None if it runs as it does."""
        return self._run

    @property
    def as_it_is(self) -> "AdapterView":
        """The same view of a model that runs as it does."""
        return AdapterView(self._model, self._anatomy, self._whole)

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
        if self._run is not None:
            return self._run(self._model, tokens, observe, rows)
        return self._model.run(tokens, observe, rows)

    def owns(self, cache: Any) -> bool:
        return self._model.owns(cache)

    def editing(self, changes: Mapping[str, Editing]) -> AbstractContextManager[None]:
        return self._model.editing(changes)

    def generate(self, tokens: Sequence[int], n: int, options: Mapping[str, Any]) -> list[int]:
        return self._model.generate(tokens, n, options)

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

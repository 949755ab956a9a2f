"""An adapter that shows its observers other activations than the model has, or says something else of the model."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, final

from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters import ModelAdapter, adapt
from dla.adapters.anatomy import Anatomy
from dla.adapters.base import Observer
from dla.vocabulary import Vocabulary


@final
class Altered(ModelAdapter):
    """A model seen through a wrapper. What runs, and the logits, are the model's own.

    For tests: what an attribution does with an activation that is not the model's shows what it is made of.
    """

    def __init__(
        self,
        model: Any,
        alter: Callable[[Anatomy], Anatomy] = lambda anatomy: anatomy,
        show: Callable[[str, Tensor], Tensor] = lambda name, activation: activation,
    ) -> None:
        """Takes the model as it is.

        Args:
            model: A `HookedTransformer`, a `TransformerBridge` or a `ModelAdapter`.
            alter: What is said of it, from what is right.
            show: What observers of a hook are shown, from what the model has there.
        """
        self._right, self._alter, self._show = adapt(model), alter, show
        self._altered: tuple[Anatomy, Anatomy] | None = None
        self.runs = 0

    @property
    def anatomy(self) -> Anatomy:
        right = self._right.anatomy
        if self._altered is None or self._altered[0] is not right:
            self._altered = right, self._alter(right)
        return self._altered[1]

    @property
    def vocabulary(self) -> Vocabulary:
        return self._right.vocabulary

    def run(
        self,
        tokens: Int[Tensor, "batch pos"],
        observe: Mapping[str, Observer],
        rows: Int[Tensor, "batch kept"] | None,
    ) -> Float[Tensor, "batch kept d_vocab"]:
        self.runs += 1
        shown = {name: partial(self._pass_on, name, observer) for name, observer in observe.items()}
        return self._right.run(tokens, shown, rows)

    def owns(self, cache: Any) -> bool:
        return self._right.owns(cache)

    def _pass_on(self, name: str, observer: Observer, activation: Tensor) -> None:
        observer(self._show(name, activation))

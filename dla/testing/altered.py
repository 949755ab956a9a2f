"""An adapter that shows its observers other activations than the model has, or says something else of the model."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, final

from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters import ModelAdapter, adapt
from dla.adapters.anatomy import Anatomy, Sublayer
from dla.adapters.base import Observer
from dla.inputs.vocabulary import Vocabulary
from dla.writes import Rounding


@final
class Altered(ModelAdapter):
    """A model seen through a wrapper. What runs, and the logits, are the model's own; its weights must stay.

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
        self._right, self._show = adapt(model), show
        self._anatomy = alter(self._right.anatomy)
        self.runs = 0

    @property
    def anatomy(self) -> Anatomy:
        return self._anatomy

    @property
    def vocabulary(self) -> Vocabulary:
        return self._right.vocabulary

    def run(
        self,
        tokens: Int[Tensor, "batch pos"],
        observe: Mapping[str, Observer],
        rows: Int[Tensor, "batch query"] | None,
    ) -> Float[Tensor, "batch query d_vocab"]:
        self.runs += 1
        shown = {name: partial(self._pass_on, name, observer) for name, observer in observe.items()}
        return self._right.run(tokens, shown, rows)

    def owns(self, cache: Any) -> bool:
        return self._right.owns(cache)

    def _pass_on(self, name: str, observer: Observer, activation: Tensor) -> None:
        observer(self._show(name, activation))


def without_rounding(anatomy: Anatomy) -> Anatomy:
    """The same model, as if its own arithmetic rounded nothing away."""
    blocks = [replace(block, sublayers=tuple(map(_exact, block.sublayers))) for block in anatomy.blocks]
    embeddings = tuple(write for write in anatomy.embeddings if not isinstance(write, Rounding))
    unembedding = replace(anatomy.unembedding, rounding=None)
    return replace(anatomy, embeddings=embeddings, blocks=tuple(blocks), unembedding=unembedding)


def _exact(sublayer: Sublayer) -> Sublayer:
    heads, neurons, experts = sublayer.heads, sublayer.neurons, sublayer.experts
    if heads is not None:
        values = None if heads.values is None else replace(heads.values, rounding=())
        heads = replace(heads, values=values, rounding=())
    return replace(
        sublayer,
        heads=heads,
        neurons=None if neurons is None else replace(neurons, rounding=()),
        experts=None if experts is None else replace(experts, rounding=()),
        rounding=(),
    )

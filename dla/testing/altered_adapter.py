"""The adapter of a model with one thing about it changed, for tests that must notice."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, final

from jaxtyping import Float, Int, Shaped
from torch import Tensor

from dla.adapters import ModelAdapter, adapt
from dla.adapters.anatomy import Anatomy, Sublayer
from dla.adapters.base import Observer
from dla.adapters.reads import ModelReads
from dla.inputs.vocabulary import Vocabulary
from dla.writes import Rounding

AlterAnatomy = Callable[[Anatomy], Anatomy]
"""From the right anatomy to another."""

ShowActivation = Callable[[str, Shaped[Tensor, "*shape"]], Shaped[Tensor, "*shape"]]
"""From a hook's name and its activation to what observers of it are shown."""

RunModel = Callable[[ModelAdapter, Any, Mapping[str, Observer], Any], Any]
"""`run(model, tokens, observe, rows)`, in the place of `model.run(tokens, observe, rows)`."""


@final
class AlteredAdapter(ModelAdapter):
    """A model whose anatomy is said to be another, whose hooks show other activations, or which runs otherwise.

    By default nothing is changed, and `runs` counts how often the model ran. Its weights must stay as they are.
    """

    def __init__(
        self,
        model: Any,
        alter: AlterAnatomy = lambda anatomy: anatomy,
        show: ShowActivation = lambda name, activation: activation,
        run: RunModel = lambda model, tokens, observe, rows: model.run(tokens, observe, rows),
        reads: ModelReads | None = None,
    ) -> None:
        """Looks at the model once.

        Args:
            model: A `HookedTransformer`, a `TransformerBridge` or a `ModelAdapter`.
            alter: What is said of it, from what is right.
            show: What observers of a hook are shown, from what the model has there.
            run: How the model runs.
            reads: What is said that its sublayers read; None where nothing is said.
        """
        self._reads = reads
        self._right, self._show, self._run = adapt(model), show, run
        self._anatomy = alter(self._right.anatomy)
        self.runs = 0

    @property
    def anatomy(self) -> Anatomy:
        return self._anatomy

    @property
    def reads(self) -> ModelReads | None:
        return self._reads

    @property
    def vocabulary(self) -> Vocabulary:
        return self._right.vocabulary

    def run(
        self, tokens: Int[Tensor, "batch pos"], observe: Mapping[str, Observer], rows: Int[Tensor, "batch query"] | None
    ) -> Float[Tensor, "batch some d_vocab"]:  # of a run that was altered perhaps not those asked for
        self.runs += 1
        shown = {name: partial(self._pass_on, name, observer) for name, observer in observe.items()}
        logits: Tensor = self._run(self._right, tokens, shown, rows)
        return logits

    def owns(self, cache: Any) -> bool:
        return self._right.owns(cache)

    def _pass_on(self, name: str, observer: Observer, activation: Shaped[Tensor, "*shape"]) -> None:
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
    neurons = None if neurons is None else replace(neurons, rounding=())
    experts = None if experts is None else replace(experts, rounding=())
    return replace(sublayer, heads=heads, neurons=neurons, experts=experts, rounding=())

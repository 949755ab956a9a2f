"""The interface between the library and a model class."""

import abc
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, final

from jaxtyping import Float, Int, Shaped
from torch import Tensor

from dla.adapters.anatomy import Anatomy, Block
from dla.adapters.reads import ModelReads
from dla.errors import UnsupportedModelError
from dla.inputs.vocabulary import Vocabulary
from dla.writes import Write

Observer = Callable[[Shaped[Tensor, "..."]], None]
"""Called with an activation while the model runs."""

Editing = Callable[[Shaped[Tensor, "..."]], Shaped[Tensor, "..."]]
"""Called with an activation while the model runs; what it returns takes its place."""


class ModelAdapter(abc.ABC):
    """A model as an attribution needs it: what writes to its stream, its vocabulary, and a way to run it.

    Law: when `run` calls the observers, `Σ embeddings + Σ sublayers` is what enters the final norm, and
    `anatomy.unembedding` maps that to the logits that `run` returns.
    """

    @property
    @abc.abstractmethod
    def anatomy(self) -> Anatomy:
        """What the model is made of. Found out once, and cheap to read again."""

    @property
    @abc.abstractmethod
    def vocabulary(self) -> Vocabulary:
        """The model's tokens."""

    @abc.abstractmethod
    def run(
        self,
        tokens: Int[Tensor, "batch pos"],
        observe: Mapping[str, Observer],
        rows: Int[Tensor, "batch query"] | None,
    ) -> Float[Tensor, "batch query d_vocab"]:
        """One forward pass without gradients.

        Args:
            tokens: Ids, padded on the right.
            observe: By hook name, what is called with the activation when the model reaches the hook.
            rows: The positions that are unembedded; None for all.

        Returns:
            The logits that the model returns, at those positions.
        """

    @abc.abstractmethod
    def owns(self, cache: Any) -> bool:
        """Whether a precomputed cache may come from this model; False only if it names another."""

    def editing(self, changes: Mapping[str, Editing]) -> AbstractContextManager[None]:
        """While it is open, `run` puts other activations in the place of those at some hook names.

        Observers see what takes the place; under `before_hooks(name)` they see what was there.

        Args:
            changes: What makes the new activation, by hook name.

        Raises:
            UnsupportedModelError: If this adapter does not say how.
        """
        raise UnsupportedModelError(
            f"{type(self).__name__} does not say how its model is edited. Give it a method `editing`."
        )

    def generate(self, tokens: Sequence[int], n: int, options: Mapping[str, Any]) -> list[int]:
        """What the model writes behind a prompt, without the prompt.

        Args:
            tokens: The prompt's ids.
            n: How many tokens at most.
            options: Of the model's own `generate`: do_sample, temperature, top_k, top_p, stop_at_eos.

        Raises:
            UnsupportedModelError: If this adapter does not say how.
        """
        raise UnsupportedModelError(
            f"{type(self).__name__} does not say how its model writes text. Give it a method `generate`, or pass a "
            "text to attribute_text."
        )

    @property
    def source(self) -> Any:
        """The model of TransformerLens that `adapt` made this adapter of; any other adapter is its own source."""
        return self

    @property
    def context(self) -> int | None:
        """How many tokens a prompt may have; None where there is no limit, or it is not known."""
        return None

    @property
    def reads(self) -> ModelReads | None:
        """What each sublayer of each block reads, so that parts can be traced; None where the adapter does not say."""
        return None

    def tensors(self) -> list[tuple[str, Float[Tensor, "..."]]]:
        """The tensors that a fingerprint of the weights covers, by name; here those of the readout."""
        unembedding = self.anatomy.unembedding
        b_U = [] if unembedding.b_U is None else [("b_U", unembedding.b_U)]
        return [("W_U", unembedding.W_U), *b_U]

    def is_current(self, anatomy: Anatomy) -> bool:
        """Whether the model still has the weights with which an anatomy was found; True where that is not known."""
        return True

    @final
    @property
    def n_layers(self) -> int:
        """The number of blocks."""
        return len(self.anatomy.blocks)

    @final
    def embeddings(self) -> tuple[Write, ...]:
        """What the stream holds before the first block: the token embedding, and a position embedding if it is added.

        In half precision also what adding the two rounds away.
        """
        return self.anatomy.embeddings

    @final
    def block(self, layer: int) -> Block:
        """One block's sublayers and streams."""
        return self.anatomy.blocks[layer]

    @final
    def sublayers(self, layer: int) -> tuple[Write, ...]:
        """One block's sublayers, each as one part; in half precision also what adding them rounds away."""
        return self.block(layer).writes()

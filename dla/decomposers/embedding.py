"""What the stream holds before the first block."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from dla.adapters.base import ModelAdapter
from dla.decomposers.base import Decomposer
from dla.labels import Label
from dla.plans import GROUP, Entry, Item, Rows


@final
@dataclass(frozen=True)
class EmbeddingDecomposer(Decomposer):
    """The token and position embeddings, each a part where the model adds them, and all blocks as one: `blocks`.

    A model that turns positions (rotary embeddings) adds none; what it has beside the token embedding before the first
    block, such as a norm, is in `embed`.
    """

    def writes(self, model: ModelAdapter) -> Sequence[Item]:
        blocks = Label(GROUP, text="blocks")
        sublayers = [write for layer in range(model.n_layers) for write in model.sublayers(layer)]

        def together(rows: Rows) -> Rows:
            return replace(rows, labels=[blocks] * len(rows.labels))

        return [*model.embeddings(), *(Entry.of(write).then(together) for write in sublayers)]

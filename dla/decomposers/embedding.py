"""What the stream holds before the first block."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from dla.adapters.base import ModelAdapter
from dla.decomposers.base import Decomposer
from dla.decomposers.plans import Entry, Item
from dla.decomposers.rows import GROUP, Rows
from dla.labels import Label


@final
@dataclass(frozen=True)
class EmbeddingDecomposer(Decomposer):
    """The token and position embeddings, each a part where the model adds them, and all blocks as one: `blocks`.

    A model with rotary embeddings adds no position embedding. What else happens before the first block, such as a norm,
    is in `embed`.
    """

    def writes(self, model: ModelAdapter) -> Sequence[Item]:
        blocks = Label(GROUP, text="blocks")
        sublayers = [sublayer for layer in range(model.n_layers) for sublayer in model.block(layer).sublayers]

        # Rows of the kind GROUP with one label are added up, whichever writes they come from.
        def together(rows: Rows) -> Rows:
            return replace(rows, labels=[blocks] * len(rows.labels))

        rounding = [write for sublayer in sublayers for write in sublayer.rounding]
        return [*model.embeddings(), *(Entry.of(sublayer.write).then(together) for sublayer in sublayers), *rounding]

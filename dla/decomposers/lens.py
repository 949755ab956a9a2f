"""The logit of the stream at each place, as if the model ended there: the logit lens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from dla.adapters.base import ModelAdapter
from dla.decomposers.base import Decomposer
from dla.decomposers.layer import streams_of
from dla.decomposers.rows import RowKind
from dla.errors import UnsupportedModelError
from dla.writes import OwnScale, Write


@final
@dataclass(frozen=True)
class LensDecomposer(Decomposer):
    """The logit lens: the stream at each place, through the final norm *on its own scale*, and the unembedding.

    The rows are `0_pre`, `0_mid`, `1_pre`, ..., `final_post`, as in `LayerDecomposer`. Each, with the constant, is the
    logit that the model would give if it ended there; the last is the logit that it gives. The rows **do not add up**,
    and their differences are not what was written between two places, since every row has another scale. For rows whose
    differences are contributions use `LayerDecomposer`, which reads the same places on the final norm's frozen scale.

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
    """

    row_kind = RowKind.LENS

    def writes(self, model: ModelAdapter) -> Sequence[Write]:
        """The plan.

        Raises:
            UnsupportedModelError: If it is not known how the final norm computes its scale.
        """
        norm = model.anatomy.unembedding.norm
        if norm is not None and norm.eps is None:
            raise UnsupportedModelError(
                "How this model's final norm finds its scale is not known, so it cannot be applied to earlier streams. "
                "Use LayerDecomposer, which needs the final scale only."
            )
        return [stream if norm is None else OwnScale(stream, norm) for stream in streams_of(model)]

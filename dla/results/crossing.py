"""What one attribution's direction reads of what another model, or another run, writes."""

import torch
from jaxtyping import Float
from torch import Tensor

from dla.decomposers.rows import RowKind
from dla.engine.contraction import Contraction
from dla.engine.forward import Unembed
from dla.labels import Label
from dla.results.alignment import rows_at
from dla.results.attributed import AttributedRows, run_of
from dla.results.part_vectors import direction_reads
from dla.results.rerun import Rerun


@torch.no_grad()
def crossed_values(
    reader: AttributedRows, writer: AttributedRows, parts: tuple[Label, ...]
) -> Float[Tensor, "part *direction_batch_and_pos"]:
    """What the direction of one attribution reads of the parts of another, on the scale of its own final norm.

    Args:
        reader: Whose direction reads.
        writer: Whose parts are read; its model runs once more.
        parts: The parts; 0 for those that the writer does not have.

    Raises:
        RunChangedError: If a model does not run any more as it ran for its result.
        ValueError: If a result was read from a file, the streams differ in width, or rows do not add up.
    """
    ours, theirs = _rerun(reader), _rerun(writer)
    query, reads = theirs.query, direction_reads(ours.query)
    if ours.scale is not None:
        reads = reads / ours.scale.unsqueeze(-1)
    if reads.shape[-1] != query.unembedding.W_U.shape[0]:
        raise ValueError(
            f"One model's stream has {reads.shape[-1]} dimensions and the other's {query.unembedding.W_U.shape[0]}, so "
            "no direction of one can read the other. Split differences of models of one width."
        )
    contraction = Contraction(query.plan.steps(query.prompts), reads.to(query.unembedding.W_U.device), query.select)
    theirs.again(contraction.observers(), Unembed.SAMPLE)
    rows = query.plan.merged(contraction.rows(*query.positions.index.shape))
    values = rows.values.reshape(len(rows.labels), *writer.total.shape).masked_fill(writer.total.isnan(), torch.nan)
    return rows_at(parts, tuple(rows.labels), values.to(reader.values))


def _rerun(result: AttributedRows) -> Rerun:
    if result.provenance.row_kind != RowKind.ADDITIVE.value:
        raise ValueError(f"The rows are {result.provenance.row_kind}; none is a part whose vector could be read.")
    return run_of(result, "split")

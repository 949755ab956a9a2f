"""What fed a part: the rows of a decomposer are asked of a model that ends where the part read."""

from dla.adapters.reads import ExpertReads, NeuronReads, SublayerReads
from dla.decomposers.component import ComponentDecomposer
from dla.directions import Logit
from dla.engine.rules import Mixed, Rule
from dla.errors import ReconstructionError, UnsupportedModelError
from dla.testing.laws.case import Case, Problem


def find_in_traces(case: Case) -> Problem | None:
    """The sublayers of the last block, traced to the rows, have them and a constant as their sum."""
    blocks, reads = case.adapter.anatomy.blocks, case.adapter.reads
    if reads is None:
        return None
    result = case.by(ComponentDecomposer()).attribute(Logit(case.ids(8)))
    for sublayer, of in zip(blocks[-1].sublayers, reads[-1], strict=True):
        if isinstance(of, str):
            continue
        label = str(sublayer.write.labels[0])
        try:
            result.trace(label, by=case.decomposer, rule=fitting_rule(of))
        except UnsupportedModelError:  # it may be about parts that are not there yet
            continue
        except ReconstructionError as error:
            return Problem(
                f"{label!r}, traced: {error}",
                "What fed a part is asked of a model that ends where the part read: between two sublayers, or before "
                "the first block. Take blocks and sublayers from `model.anatomy`, and all of them that are there.",
            )
    return None


def fitting_rule(reads: SublayerReads) -> Rule | None:
    """A rule that fits a sublayer; None where only one does."""
    gated = isinstance(reads, NeuronReads) and reads.up is not None
    return Mixed(0.5) if gated or (isinstance(reads, ExpertReads) and reads.gated) else None

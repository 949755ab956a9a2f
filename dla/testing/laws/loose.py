"""Rows that say of no known part that they are a piece of it, and may hold some of it all the same."""

from collections.abc import Iterator, Sequence

from dla.adapters.anatomy import Heads, Mixture, Neurons
from dla.labels import Label
from dla.testing.laws.case import Case
from dla.testing.laws.planning import steps_of
from dla.testing.laws.reference_rows import ReferenceRows, known_parents
from dla.testing.laws.rows import key_of

Reads = frozenset[str] | None
"""The hooks that a row reads; None where that is not known, since it was made of the rows of a write."""


def loose_rows(case: Case, labels: Sequence[Label], known: ReferenceRows) -> dict[int, Reads]:
    """What each row reads, by its place, that has no known name and is a piece of no known part."""
    writes = {
        key_of(label): frozenset(site.name for site in step.write.reads)
        for step in steps_of(case)
        for label in step.write.labels
    }
    return {
        i: writes.get(key_of(label))
        for i, label in enumerate(labels)
        if key_of(label) not in known and not any(known_parents(label, known))
    }


def may_hold(case: Case, reads: Reads, part: Label) -> bool:
    """Whether a row that reads these hooks may hold some of a part: a constant may, and what reads its block."""
    if not reads:
        return True
    return part.layer is None or not reads.isdisjoint(_from(case, part.layer))


def _from(case: Case, layer: int) -> Iterator[str]:
    """The hooks at which something of a block is seen: in the block, and in the stream after it."""
    blocks = case.adapter.anatomy.blocks
    for i, block in enumerate(blocks[layer:]):
        streams = [*([] if i == 0 else [block.resid_pre]), block.resid_mid, block.resid_post]
        yield from (site.name for stream in streams if stream is not None for site in stream.reads)
    for sublayer in blocks[layer].sublayers:
        finer: list[Heads | Neurons | Mixture] = [
            part for part in (sublayer.heads, sublayer.neurons, sublayer.experts) if part is not None
        ]
        writes = [sublayer.write, *(write for part in finer for write in part.writes())]
        yield from (site.name for write in writes for site in write.reads)
        yield from (site.name for site, _ in sublayer.outputs)
        if sublayer.heads is not None and sublayer.heads.values is not None:
            yield from (sublayer.heads.values.pattern.name, sublayer.heads.values.v.name)

"""The rows of what hooks and edits add to the stream: measured before and after them, where no other row holds it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import final

from jaxtyping import Float
from torch import Tensor

from dla.adapters.anatomy import Anatomy
from dla.adapters.stops import Stop, Stretch, block_name, stops_of
from dla.adapters.watching import before_hooks
from dla.decomposers.plans import Entry, Item, Plan
from dla.decomposers.rows import RowKind
from dla.errors import UnsupportedModelError
from dla.inputs.prompts import Prompts
from dla.labels import ROUNDING, Label
from dla.writes import Change, Rounding, Site, SumOf, Write
from dla.writes.routes import Activations

EDIT = "edit"
"""The kind of rows of what hooks and edits add."""


def edit_rows(plan: Plan, anatomy: Anatomy, prompts: Prompts, edited: Sequence[tuple[str, ...]]) -> list[Write]:
    """Rows for what is added at edited activations, so that with the plan's rows they add up.

    What is edited where rows read it, or before, is in those rows. What is edited after they read it is in none, and
    becomes a row of its own, `edit blocks.1.hook_resid_pre`.

    Args:
        plan: The plan.
        anatomy: That of the model, up to the place that is asked about.
        prompts: The prompts.
        edited: The activations that hooks or edits may change, each with all its names.

    Raises:
        UnsupportedModelError: If what an edit adds cannot be told from what half precision rounds away.
    """
    if plan.row_kind is not RowKind.ADDITIVE:
        return []  # rows of streams, which hold all that was added before them
    stops = list(stops_of(anatomy))
    writes = [write for item in plan.items for write in _writes(item, prompts)]
    read, known = _Read.by(writes, stops), {label for write in writes for label in write.labels}
    found: dict[str, Write] = {}
    for names in edited:
        place = next(((i, stop) for i, stop in enumerate(stops) if stop.site.name in names), None)
        if place is None or read.holds(place[0]) or _is_read(place[1], names, stops, read.own):
            continue
        stop = place[1]
        if read.rounding & set(names):
            raise UnsupportedModelError(
                f"What is edited at {names[0]!r} cannot be told from what half precision rounds away there. Load the "
                f"model in float32, or edit the stream that enters a block, as at {stops[0].site.name!r}."
            )
        before = replace(stop.site, name=before_hooks(stop.site.name))
        label = Label(EDIT, stop.layer, stop.stretch, f"edit {stop.site.name}")
        found.setdefault(label.text or "", _Gained(stop.write(before), stop.write(stop.site), label))
    rows = [*found.values(), *_between_blocks(anatomy, edited)]
    return [row for row in rows if row.labels[0] not in known]  # a plan that was made under hooks has theirs


def _between_blocks(anatomy: Anatomy, edited: Sequence[tuple[str, ...]]) -> Iterator[Write]:
    """What hooks of a block's module add after it, which the next block reads."""
    for layer, (block, after) in enumerate(zip(anatomy.blocks, anatomy.blocks[1:], strict=False)):
        left, entered, name = block.resid_post, after.resid_pre, block_name(layer)
        if left.site.name == entered.site.name or not any(name in names for names in edited):
            continue
        first = replace(entered.site, name=before_hooks(entered.site.name))
        yield Change(left.site, first, Label(EDIT, layer, Stretch.AFTER, f"edit {name}"), entered.route)


def _writes(item: Item, prompts: Prompts) -> Iterator[Write]:
    write = item.write(prompts) if isinstance(item, Entry) else item
    yield from write.writes if isinstance(write, SumOf) else [write]


@final
@dataclass(frozen=True, eq=False)
class _Read:
    """What rows hold.

    Attributes:
        own: The hook names of what they read, and hold with all that was added before.
        stretches: The places before and after which rows of what is gained in between read the stream.
        rounding: The hook names of what rows of rounding are measured by.
    """

    own: frozenset[str]
    stretches: Sequence[tuple[int, int]]
    rounding: frozenset[str]

    def holds(self, place: int) -> bool:
        """Whether some row holds what is added to the stream at a place."""
        return any(before < place <= after for before, after in self.stretches)

    @staticmethod
    def by(writes: Sequence[Write], stops: Sequence[Stop]) -> "_Read":
        # The scale of a post-norm is computed from an output, and is no row's vector.
        outputs = (output for stop in stops if stop.sublayer is not None for output in stop.sublayer.outputs)
        scales = {route.norm.scale for _, route in outputs if route.norm is not None}
        lost = [write for write in writes if all(label.kind == ROUNDING for label in write.labels)]
        changes = [write for write in writes if isinstance(write, Change) and write not in lost]
        others = [write for write in writes if write not in lost and write not in changes]
        own = {site.name for write in others for site in write.reads if site not in scales}
        at = {stop.site.name: i for i, stop in enumerate(stops)}
        streams = [i for i, stop in enumerate(stops) if stop.sublayer is None and stop.site.name in own]
        gained = [
            (at[change.before.name], at[change.after.name])
            for change in changes
            if {change.before.name, change.after.name} <= set(at)
        ]
        rounding = (name for write in lost for name in _seen(write))
        return _Read(frozenset(own), [(-1, max(streams, default=-1)), *gained], frozenset(rounding))


def _seen(rounding: Write) -> Iterator[str]:
    """The results of steps from which what was rounded away is taken."""
    yield from [rounding.seen.name] if isinstance(rounding, Rounding) else (site.name for site in rounding.reads)


def _is_read(stop: Stop, names: Sequence[str], stops: Sequence[Stop], read: frozenset[str]) -> bool:
    """Whether some row reads an edited activation after the edit."""
    if not read.isdisjoint(names):
        return True
    later = (other for other in stops if other.sublayer is stop.sublayer and other.rank > stop.rank)
    return stop.sublayer is not None and any(other.site.name in read for other in later)


@final
@dataclass(frozen=True, eq=False)
class _Gained(Write):
    """One part: all that is written from an activation as it is, minus what would be from it as it was.

    Attributes:
        before: What is written from the activation before it is edited.
        after: The same, from the edited one.
        label: The part's.
    """

    before: Write
    after: Write
    label: Label

    @property
    def labels(self) -> Sequence[Label]:
        return (self.label,)

    @property
    def reads(self) -> tuple[Site, ...]:
        return tuple(dict.fromkeys((*self.before.reads, *self.after.reads)))

    def contract(
        self, activations: Activations, direction: Float[Tensor, "*more #batch #pos d_model"]
    ) -> Float[Tensor, "*more part #batch #pos"]:
        gained = self.after.contract(activations, direction) - self.before.contract(activations, direction)
        return gained.sum(-3, keepdim=True)

    def vectors(self, activations: Activations) -> Float[Tensor, "part #batch #pos d_model"]:
        return (self.after.vectors(activations) - self.before.vectors(activations)).sum(0, keepdim=True)

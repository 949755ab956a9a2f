"""Which parts of the stream a plan splits, and how several plans become one that splits each part once."""

from collections.abc import Mapping, Sequence

from dla.adapters.base import ModelAdapter
from dla.decomposers.plans import Item
from dla.labels import Label
from dla.writes import Write

NamedPlan = tuple[str, Sequence[Item]]
"""A plan, and the name of the decomposer that made it."""


def merged_plans(plans: Sequence[NamedPlan], model: ModelAdapter) -> list[Item]:
    """One plan: each embedding and sublayer in the pieces of the plan that splits it, or whole.

    Raises:
        ValueError: If two plans split the same part, or a label does not say what it is a piece of.
    """
    whole = components_of(model)
    pieces = [(name, _pieces(name, items, model, whole)) for name, items in plans]
    plan: dict[int, Item] = {}
    for label, write in whole.items():
        owners = [(name, found[label]) for name, found in pieces if label in found]
        if len(owners) > 1:
            raise ValueError(
                f"Both {owners[0][0]} and {owners[1][0]} split {str(label)!r}. Leave one of them out, or "
                "restrict it with layers=..., so that each part of the stream is split once."
            )
        # By identity: an item that covers several parts, such as a block, is found under each of them.
        for item in owners[0][1] if owners else [write]:
            plan[id(item)] = item
    return list(plan.values())


def components_of(model: ModelAdapter) -> dict[Label, Write]:
    """The embeddings and sublayers, by label."""
    sublayers = [write for layer in range(model.n_layers) for write in model.sublayers(layer)]
    return {write.labels[0]: write for write in (*model.embeddings(), *sublayers)}


def _pieces(
    name: str, items: Sequence[Item], model: ModelAdapter, whole: Mapping[Label, Write]
) -> dict[Label, list[Item]]:
    """The items of a plan by the part that they are pieces of, without the parts that the plan leaves whole."""
    found: dict[Label, list[Item]] = {}
    for item in items:
        # One write may hold pieces of several parts; an entry says of which part its pieces are.
        labels = item.labels if isinstance(item, Write) else [item.parent]
        for component in dict.fromkeys(part for label in labels for part in _components(name, label, model, whole)):
            found.setdefault(component, []).append(item)
    return {label: pieces for label, pieces in found.items() if not _is_whole(label, pieces)}


def _components(name: str, label: Label, model: ModelAdapter, whole: Mapping[Label, Write]) -> list[Label]:
    """The embeddings and sublayers that a label is a piece of, or the sum of."""
    for above in label.path():
        if above in whole:
            return [above]
        if above.kind == "block" and above.layer is not None:
            return [write.labels[0] for write in model.sublayers(above.layer)]
        if above.kind in ("pre", "mid", "post") and above.layer is not None:
            return _before(above.kind, above.layer, model)
    raise ValueError(
        f"{name} has a part {str(label)!r} that does not say what it is a piece of, so it cannot be mixed with other "
        "decompositions. Make its label with parent=..., such as parent=Label('head', 9, 6)."
    )


def _before(kind: str, layer: int, model: ModelAdapter) -> list[Label]:
    """Everything that writes to the stream before a place in block `layer`."""
    last = model.block(layer).writes({"pre": 0, "mid": 1, "post": None}[kind])
    blocks = [write for i in range(layer) for write in model.sublayers(i)]
    return [write.labels[0] for write in (*model.embeddings(), *blocks, *last)]


def _is_whole(label: Label, pieces: Sequence[Item]) -> bool:
    return len(pieces) == 1 and isinstance(pieces[0], Write) and tuple(pieces[0].labels) == (label,)

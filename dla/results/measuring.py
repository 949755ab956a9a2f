"""From an attribution to the effects of its parts."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from dla.decomposers.rows import RowKind
from dla.edits import Ablation
from dla.edits.rows import EDIT
from dla.inputs.arguments import choice, instance
from dla.inputs.given import count, items, shown, whole_number
from dla.labels import ROUNDING, Label
from dla.results.ablating import Remover
from dla.results.attributed import AttributedRows
from dla.results.attribution_table import mean_by_row
from dla.results.effects import NORM, Effects, names_of
from dla.results.rerun import Rerun
from dla.views.progress import followed

_LONGEST = 40  # characters


def measured_effects(
    result: AttributedRows, rerun: Rerun, asked: object, ablation: object, at: str, joint: bool, progress: bool | None
) -> Effects:
    """The effects of some parts of an attribution, each in a run of its own; see `Attribution.effects`."""
    if result.provenance.row_kind != RowKind.ADDITIVE.value:
        raise ValueError(f"The rows are {result.provenance.row_kind}; none is a part that could be taken away.")
    ablation = instance(ablation, Ablation, "The ablation", "an instance, such as dla.Zero()")
    everywhere = choice(at, "at", ("asked", "all")) == "all"
    parts = _parts(result, asked)
    remover = Remover(rerun, parts)
    experiments = [parts] if instance(joint, bool, "joint", "True or False") else [[part] for part in parts]
    found = [
        remover.without(some, ablation, everywhere) for some in followed(experiments, "without each part", progress)
    ]

    def shaped(numbers: Sequence[Float[Tensor, "*row direction batch query"]]) -> Tensor:
        stacked = torch.stack(list(numbers))
        rows = stacked.shape[: stacked.ndim - 3]
        return stacked.reshape(*rows, *result.total.shape).masked_fill(result.total.isnan(), torch.nan).to(result.total)

    names = [names_of(some) for some in experiments]
    removed = result.group_by({names[0]: [str(part) for part in parts]}) if joint and len(parts) > 1 else result
    return Effects(
        removed.select(names),
        shaped([one.direct for one in found]),
        shaped([one.measured for one in found]),
        shaped([torch.cat([one.repairs, one.norm[None]]) for one in found]),
        (*remover.labels, NORM),
        shaped([one.tolerance for one in found]),
        _told(ablation),
        at,
    )


def _told(ablation: Ablation) -> str:
    """An ablation in a title: its prompts and vectors have no room there."""
    told = repr(ablation)
    return told if len(told) <= _LONGEST and "\n" not in told else f"{type(ablation).__name__}(...)"


def _parts(result: AttributedRows, asked: object) -> list[Label]:
    """The parts that are asked for, in the order of the rows.

    Raises:
        TypeError: If they are neither a number nor labels.
        ValueError: If there are fewer, no such part, or none at all.
    """
    if whole_number(asked) is None:
        chosen = result.select(asked if isinstance(asked, str | Label) else _labels(asked))
        return list(chosen.parts)
    k = count(asked, "parts", "part")
    able = [i for i, label in enumerate(result.parts) if label.kind not in (ROUNDING, EDIT)]
    if k > len(able):
        raise ValueError(f"parts={k}, and there are {len(able)} rows that could be taken away. Pass at most that many.")
    one = result.direction(result.directions[0]) if result.directions else result
    sizes = mean_by_row(one, one.values)[able].abs()
    best = sizes.argsort(descending=True, stable=True)[:k].tolist()
    return [result.parts[able[i]] for i in sorted(best)]


def _labels(asked: object) -> list[str]:
    several = items(asked)
    if several is not None and not several:
        raise ValueError("parts is empty, so nothing would be taken away. Pass one label at least, or how many.")
    if several is None:
        raise TypeError(f"parts={shown(asked)}. Pass how many of the strongest, or labels, such as ['L9H6', 'L9H9'].")
    return [str(label) for label in several]

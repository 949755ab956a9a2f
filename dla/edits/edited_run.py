"""A run in which other activations stand in the place of what some parts write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from dla.adapters.base import ModelAdapter, Observer
from dla.adapters.watching import merged_observers
from dla.edits.ablations import Ablation, Written
from dla.edits.places import EditPlace
from dla.errors import UnsupportedModelError
from dla.inputs.given import shown
from dla.writes import Site


@final
@dataclass(frozen=True, eq=False)
class PlacedEdit:
    """An edit of one place, for some prompts.

    Attributes:
        part: The part's name, for messages.
        place: Where it writes.
        ablation: What stands in its place.
        where: At which positions.
        real: Which positions hold a token of the prompt.
        other: What the part writes on the ablation's own prompts, if it has some.
    """

    part: str
    place: EditPlace
    ablation: Ablation
    where: Bool[Tensor, "batch pos"]
    real: Bool[Tensor, "batch pos"]
    other: Written | None = None

    def apply(
        self, activation: Shaped[Tensor, "batch ..."], seen: Mapping[Site, Tensor]
    ) -> Float[Tensor, "batch pos width"]:
        """Puts what the ablation gives in the place of what the part writes; gives what is taken away.

        Raises:
            ValueError: If the ablation does not fit the part.
        """
        real, where = self.real.to(activation.device), self.where.to(activation.device)
        values = self.place.written(activation, seen).to(torch.promote_types(activation.dtype, torch.float32))
        other = None if self.other is None else Written(self.other.values.to(values), self.other.real.to(real.device))
        # A copy, so that what an ablation does to it in place is not taken for what the part writes.
        values = values.clone()
        new = self._fitting(self.ablation.replace(Written(values.clone(), real), other), values)
        self.place.put(activation, new, where, seen)
        return (values - new) * where.unsqueeze(-1)

    def _fitting(self, new: object, values: Float[Tensor, "batch pos width"]) -> Float[Tensor, "batch pos width"]:
        name = type(self.ablation).__name__
        if not isinstance(new, Tensor) or not _broadcasts(new.shape, values.shape):
            raise ValueError(
                f"{name} gave {shown(new)} in the place of what {self.part!r} writes, {list(values.shape)}. Give one "
                "vector for all prompts and positions, or one for each."
            )
        fitting: Tensor = new.to(values).expand_as(values)
        if not bool(fitting.isfinite().all()):
            raise ValueError(f"{name} gave numbers that are not finite in the place of what {self.part!r} writes.")
        return fitting


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    # The width is the part's own: one number for all entries is written out, so that a vector's width is never guessed.
    return len(shape) == len(to) and shape[-1] == to[-1] and all(a in (1, b) for a, b in zip(shape, to, strict=True))


def keeping(seen: dict[Site, Tensor], sites: Sequence[Site], shape: torch.Size) -> dict[str, Observer]:
    """Observers that keep what is at some sites, in the layout of each and in float32 or finer.

    Args:
        seen: Where it is kept.
        sites: The sites.
        shape: How many prompts there are, and how many positions they have.
    """
    return merged_observers([{site.name: partial(_keep, seen, site, shape)} for site in dict.fromkeys(sites)])


def _keep(seen: dict[Site, Tensor], site: Site, shape: torch.Size, activation: Shaped[Tensor, "..."]) -> None:
    value = site.laid_out(activation, *shape)
    finer = torch.promote_types(value.dtype, torch.float32) if value.is_floating_point() else value.dtype
    seen[site] = value.to(finer)


@final
@dataclass(frozen=True, eq=False)
class EditedRun:
    """Runs a model with edits, and takes them off afterwards, also on an error.

    Attributes:
        edits: The edits; those of one activation take place in this order.
        taken: Where what each of them takes away is put, by its number; None where nobody asks.
    """

    edits: Sequence[PlacedEdit]
    taken: dict[int, Float[Tensor, "batch pos width"]] | None = None

    def __call__(
        self,
        model: ModelAdapter,
        tokens: Int[Tensor, "batch pos"],
        observe: Mapping[str, Observer],
        rows: Int[Tensor, "batch query"] | None,
    ) -> Float[Tensor, "batch query d_vocab"]:
        """One forward pass, as `ModelAdapter.run`."""
        seen: dict[Site, Tensor] = {}
        reading = keeping(seen, [site for edit in self.edits for site in edit.place.reads], tokens.shape)
        by_name: dict[str, list[int]] = {}
        for i, edit in enumerate(self.edits):
            by_name.setdefault(edit.place.site.name, []).append(i)
        changes = {name: partial(self._changed, some, seen, tokens.shape) for name, some in by_name.items()}
        with model.editing(changes):
            return model.run(tokens, merged_observers([reading, observe]), rows)

    def _changed(
        self, some: Sequence[int], seen: Mapping[Site, Tensor], shape: torch.Size, activation: Shaped[Tensor, "..."]
    ) -> Shaped[Tensor, "..."]:
        edited = activation.clone()
        for i in some:
            site = self.edits[i].place.site
            view = site.laid_out(edited, *shape)
            if view.untyped_storage().data_ptr() != edited.untyped_storage().data_ptr():
                raise UnsupportedModelError(
                    f"What the hook {site.name!r} shows is laid out anew for {self.edits[i].part!r}, so it can be read "
                    "and not edited. Edit the sublayer's output."
                )
            lost = self.edits[i].apply(view, seen)
            if self.taken is not None:
                self.taken[i] = lost
        return edited

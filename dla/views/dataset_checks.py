"""Whether what a dataset of an attribution holds goes together: its axes, its tokens, its labels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dla.labels import Label
from dla.provenance import Provenance
from dla.views.stored_text import storable

if TYPE_CHECKING:
    import xarray

OF_PARTS = ("kind", "layer", "index", "head", "text", "source", "parent")
"""What is told of each part, beside its name."""

_AXES = ("direction", "batch", "position")
_TEXTS = ("part", "kind", "text", "parent", "token", "direction")
_WHOLE = ("layer", "index", "head", "source", "position_in_prompt")


def check_axes(data: "xarray.Dataset", provenance: Provenance, tensors: Sequence[str]) -> None:
    """Checks the axes and types of all variables against what was asked.

    Raises:
        KeyError: If one is missing.
        ValueError: If one has other axes, another size, or holds something else; names it.
    """
    dims, places = provenance.dims, provenance.places
    if dims != tuple(axis for axis in _AXES if axis in dims):
        raise ValueError(f"the axes {dims} are none that a result can have")
    expected: dict[str, tuple[str, ...]] = {
        **dict.fromkeys(("part", *OF_PARTS), ("part",)),
        **({"direction": ("direction",)} if "direction" in dims else {}),
        "position_in_prompt": places,
        "token": places,
        **{name: ("part", *dims) if name == "values" else dims for name in tensors if name != "positions"},
    }
    for name, axes in expected.items():
        if data[name].dims != axes or not _holds(name, data[name].values):
            raise ValueError(f"{name!r} has the axes {data[name].dims} and the type {data[name].dtype}")
    asked = data["direction"].values.tolist() if "direction" in dims else []
    if asked != [storable(name) for name in provenance.directions]:
        raise ValueError(f"the directions are {asked}, and {[*provenance.directions]} were asked for")
    size = data.sizes.get("batch", 1)
    if provenance.tokens and size != len(provenance.tokens):
        raise ValueError(f"there are numbers of {size} prompts, and tokens of {len(provenance.tokens)}")


def check_tokens(data: "xarray.Dataset", provenance: Provenance) -> None:
    """Checks that the positions are of the prompts, and the tokens there those of the prompts.

    Raises:
        ValueError: If they are not.
    """
    positions = data["position_in_prompt"].values
    if not np.array_equal(tokens_at(positions, provenance), data["token"].values.astype(object)):
        raise ValueError("the tokens at its positions are not those of its prompts")
    longest = max(map(len, provenance.tokens), default=np.iinfo(np.int64).max)
    if positions.size and not -1 <= positions.min() <= positions.max() < longest:
        raise ValueError(f"a position is outside of the prompts, of which the longest has {longest} tokens")


def check_names(data: "xarray.Dataset", parts: Sequence[Label]) -> None:
    """Checks that the labels are called as the dataset calls them.

    Raises:
        ValueError: If one is not.
    """
    for part, name in zip(parts, data["part"].values.tolist(), strict=True):
        if str(part) != name:
            raise ValueError(f"the part {name!r} is described as {str(part)!r}")


def tokens_at(positions: npt.NDArray[np.int64], provenance: Provenance) -> npt.NDArray[np.object_]:
    """The token at each position; empty where a short prompt has none."""
    texts = np.empty(positions.shape, dtype=object)
    for where, position in np.ndenumerate(positions):
        row = provenance.tokens[where[0] if "batch" in provenance.dims else 0] if provenance.tokens else ()
        texts[where] = storable(row[position]) if 0 <= position < len(row) else ""
    return texts


def _holds(name: str, values: npt.NDArray[Any]) -> bool:
    """Whether an array holds what a variable of that name does: texts, whole numbers, or numbers."""
    if name in _TEXTS:
        return values.dtype.kind in "UT" or set(map(type, values.ravel().tolist())) <= {str}
    return values.dtype.kind == ("i" if name in _WHOLE else "f")

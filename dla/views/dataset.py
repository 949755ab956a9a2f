"""An attribution as an xarray dataset, and back."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Shaped
from torch import Tensor

from dla.errors import FileFormatError
from dla.inputs.given import shown
from dla.labels import Label
from dla.provenance import Provenance
from dla.text import as_text

if TYPE_CHECKING:
    import xarray

DATASET_FORMAT = "dla.attribution/3"
_NO_INDEX = -1  # netCDF has no None
_UNSTORABLE = re.compile("[\\0\\ud800-\\udfff]")

DatasetContents = tuple[tuple[Label, ...], dict[str, Shaped[Tensor, "..."]], Provenance]
"""The labels, tensors by name, and provenance of an attribution."""


def to_dataset(
    parts: Sequence[Label], tensors: Mapping[str, Shaped[Tensor, "..."]], provenance: Provenance
) -> "xarray.Dataset":
    """A dataset with every tensor as a variable, labels and tokens as coordinates, the provenance as an attribute.

    Args:
        parts: The labels.
        tensors: By name: "values" `[part ...]`, "positions" without the axis of directions, any others `[...]`; the
            axes `...` are the provenance's `dims`.
        provenance: Where they come from.
    """
    import xarray  # takes as long as all of this library: only who wants a dataset waits for it

    dims = {"values": ("part", *provenance.dims), "positions": provenance.places}
    arrays = {
        name: (dims.get(name, provenance.dims), tensor.detach().cpu().numpy()) for name, tensor in tensors.items()
    }
    positions = arrays.pop("positions")
    coords: dict[str, Any] = {
        "part": [_storable(str(part)) for part in parts],
        "kind": ("part", [_storable(part.kind) for part in parts]),
        "layer": ("part", _indices([part.layer for part in parts])),
        "index": ("part", _indices([part.index for part in parts])),
        "head": ("part", _indices([part.head for part in parts])),
        "text": ("part", [_storable(part.text or "") for part in parts]),
        "source": ("part", _indices([part.source for part in parts])),
        "parent": ("part", [_storable(str(part.parent or "")) for part in parts]),
        "position_in_prompt": positions,
        "token": (provenance.places, _tokens(positions[1], provenance)),
    }
    if provenance.directions:
        coords["direction"] = [_storable(name) for name in provenance.directions]
    attributes = {
        "format": DATASET_FORMAT,
        "provenance": json.dumps(asdict(provenance)),
        "parents": json.dumps(_parents(parts)),
    }
    return xarray.Dataset(arrays, coords=coords, attrs=attributes)


def from_dataset(data: "xarray.Dataset", needed: Sequence[str]) -> DatasetContents:
    """The labels, tensors and provenance of a dataset.

    Args:
        data: The dataset.
        needed: The tensors that must be there.

    Raises:
        FileFormatError: If the dataset is not an attribution, or is damaged.
    """
    if data.attrs.get("format") != DATASET_FORMAT:
        raise FileFormatError(
            f"The dataset is not an attribution (format {shown(data.attrs.get('format'))}). Pass one that `save` wrote."
        )
    try:
        parts, tensors, provenance = _contents(data)
        return parts, {name: tensors[name] for name in needed}, provenance
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"The attribution is incomplete or damaged ({error!r}). Save it again.") from error


def _contents(data: "xarray.Dataset") -> DatasetContents:
    fields = json.loads(data.attrs["provenance"])
    fields["tokens"] = tuple(tuple(prompt) for prompt in fields["tokens"])
    fields["dims"], fields["directions"] = tuple(fields["dims"]), tuple(fields["directions"])
    tensors = {str(name): torch.from_numpy(np.array(array)) for name, array in data.data_vars.items()}
    tensors["positions"] = torch.from_numpy(np.array(data.coords["position_in_prompt"]))
    known = _labels_of(json.loads(data.attrs["parents"]))
    columns = [data.coords[name].values.tolist() for name in ("kind", "layer", "index", "text", "source", "parent")]
    parts = tuple(
        Label(kind, _known(layer), _known(index), text or None, _known(source), known[parent] if parent else None)
        for kind, layer, index, text, source, parent in zip(*columns, strict=True)
    )
    return parts, tensors, Provenance(**fields)


def _parents(parts: Sequence[Label]) -> dict[str, list[Any]]:
    """The labels that the parts are pieces of, by name: each label's fields, the last of them its parent's name."""
    above = {label for part in parts for label in part.path() if label is not part}
    return {
        _storable(str(label)): [*_fields(label), _storable(str(label.parent or ""))] for label in sorted(above, key=str)
    }


def _labels_of(parents: Mapping[str, Sequence[Any]]) -> dict[str, Label]:
    """The labels of `_parents`."""
    known: dict[str, Label] = {}

    def label(name: str) -> Label:
        if name not in known:
            kind, layer, index, text, source, parent = parents[name]
            known[name] = Label(kind, layer, index, text, source, label(parent) if parent else None)
        return known[name]

    for name in parents:
        label(name)
    return known


def _fields(label: Label) -> list[Any]:
    return [label.kind, label.layer, label.index, label.text, label.source]


def _storable(text: str) -> str:
    """A text as files can hold it: a zero byte or half of a character, as single bytes decode to, is escaped."""
    return _UNSTORABLE.sub(lambda found: as_text(found[0]), text)


def _indices(values: Sequence[int | None]) -> list[int]:
    return [_NO_INDEX if value is None else value for value in values]


def _known(value: int) -> int | None:
    return None if value == _NO_INDEX else int(value)


def _tokens(positions: npt.NDArray[np.int64], provenance: Provenance) -> npt.NDArray[np.character]:
    """The token at each position; empty where a short prompt has none."""
    texts = np.empty(positions.shape, dtype=object)
    for where, position in np.ndenumerate(positions):
        row = provenance.tokens[where[0] if "batch" in provenance.dims else 0] if provenance.tokens else ()
        texts[where] = _storable(row[position]) if 0 <= position < len(row) else ""
    return texts.astype(str)

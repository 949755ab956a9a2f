"""An attribution as an xarray dataset, and back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from dla.labels import Label
from dla.provenance import Provenance
from dla.views.dataset_checks import OF_PARTS, check_axes, check_names, check_tokens, tokens_at
from dla.views.declared import declared
from dla.views.formats import check_format
from dla.views.stored_text import restored, storable, stored

if TYPE_CHECKING:
    import pandas
    import xarray

DATASET_FORMAT = "dla.attribution/5"
OLDER_FORMAT = "dla.attribution/4"  # the same without a question
DIFFERENCE_FORMAT = "dla.difference/1"
_NO_INDEX = -1  # netCDF has no None

QUESTION = "question"
"""What a file says of the run, beside the dataset."""

COORDINATES = ("part", *OF_PARTS, "position_in_prompt", "token", "asked", "direction", "batch", "position", QUESTION)
"""The variables of a file beside its tensors, and the names of its axes."""

_Parents = dict[str, tuple[str, int | None, int | None, str | None, int | None, str]]

DatasetContents = tuple[tuple[Label, ...], dict[str, Shaped[Tensor, "..."]], Provenance]
"""The labels, tensors by name, and provenance of an attribution."""


def to_dataset(
    parts: Sequence[Label], tensors: Mapping[str, Shaped[Tensor, "..."]], provenance: Provenance, whole: bool
) -> "xarray.Dataset":
    """A dataset with every tensor as a variable, labels and tokens as coordinates, the provenance as an attribute.

    Args:
        parts: The labels.
        tensors: By name: "values" `[part ...]`, "positions" without the axis of directions, any others `[...]`; the
            axes `...` are the provenance's `dims`.
        provenance: Where they come from.
        whole: Whether the rows are all those that make the total.
    """
    import xarray  # takes as long as all of this library: only who wants a dataset waits for it

    dims = {"values": ("part", *provenance.dims), "positions": provenance.places}
    arrays = {
        name: (dims.get(name, provenance.dims), tensor.detach().cpu().numpy()) for name, tensor in tensors.items()
    }
    positions = arrays.pop("positions")
    coords: dict[str, Any] = {
        "part": [storable(str(part)) for part in parts],
        "kind": ("part", [storable(part.kind) for part in parts]),
        "layer": ("part", _indices([part.layer for part in parts])),
        "index": ("part", _indices([part.index for part in parts])),
        "head": ("part", _indices([part.head for part in parts])),
        "text": ("part", [storable(part.text or "") for part in parts]),
        "source": ("part", _indices([part.source for part in parts])),
        "parent": ("part", [storable(str(part.parent or "")) for part in parts]),
        "position_in_prompt": positions,
        "token": (provenance.places, tokens_at(positions[1], provenance).astype(str)),
    }
    if provenance.asked:
        shape = arrays["logit"][1].shape
        coords["asked"] = (
            provenance.dims,
            np.array([storable(one) for each in provenance.asked for one in each], str).reshape(shape),
        )
    if provenance.directions:
        coords["direction"] = [storable(name) for name in provenance.directions]
    attributes = {
        "format": DATASET_FORMAT,
        "provenance": json.dumps(stored(asdict(provenance))),
        "parents": json.dumps(stored(_parents(parts))),
        "whole": int(whole),
    }
    return xarray.Dataset(arrays, coords=coords, attrs=attributes)


def with_question(data: "xarray.Dataset", question: str) -> "xarray.Dataset":
    """A dataset with what a file says of the run; empty where nothing is known of it."""
    return data.assign({QUESTION: question})


def dataset_of(variables: Mapping[str, Any], coords: Mapping[str, Sequence[str]], title: str) -> "xarray.Dataset":
    """A dataset of some variables.

    Args:
        variables: By name, each with its axes.
        coords: The names along some axes.
        title: What it holds, in words.
    """
    import xarray

    return xarray.Dataset(variables, coords=coords, attrs={"title": title})


def frame_of(data: "xarray.Dataset", names: Sequence[str]) -> "pandas.DataFrame":
    """One row for each part, direction, prompt and position that there is.

    Args:
        data: The dataset.
        names: The variables that become columns; the first is "values", whose column is called `value`.
    """
    frame = (
        data[[*names, "position_in_prompt", "token", *(["asked"] if "asked" in data.coords else [])]]
        .to_dataframe()
        .reset_index()
    )
    return frame.rename(columns={"values": "value"}).dropna(subset="value").reset_index(drop=True)


def frame_of_columns(columns: Mapping[str, Sequence[Any]]) -> "pandas.DataFrame":
    """A data frame of some columns by name."""
    import pandas

    return pandas.DataFrame(dict(columns))


def from_dataset(data: "xarray.Dataset", needed: Sequence[str]) -> DatasetContents:
    """The labels, tensors and provenance of a dataset.

    Args:
        data: The dataset.
        needed: The tensors that must be there.

    Raises:
        FileFormatError: If it was written by a newer version.
        KeyError: If something is missing.
        ValueError: If the dataset is not an attribution, or what it holds does not go together.
    """
    if data.attrs.get("format") != OLDER_FORMAT:
        check_format(data.attrs.get("format"), DATASET_FORMAT)
    said = declared(Provenance, str(data.attrs["provenance"]))
    provenance = Provenance(**{field.name: restored(getattr(said, field.name)) for field in fields(said)})
    check_axes(data, provenance, needed)
    check_tokens(data, provenance)
    parts = _labels(data)
    check_names(data, parts)
    tensors = {name: torch.from_numpy(np.array(data[name])) for name in needed if name != "positions"}
    tensors["positions"] = torch.from_numpy(np.array(data["position_in_prompt"]))
    return parts, tensors, provenance


def _labels(data: "xarray.Dataset") -> tuple[Label, ...]:
    known = _labels_of(restored(declared(_Parents, str(data.attrs["parents"]))))
    columns = [data[name].values.tolist() for name in ("kind", "layer", "index", "text", "source", "parent")]
    return tuple(
        Label(kind, _known(layer), _known(index), text or None, _known(source), _above(parent, known))
        for kind, layer, index, text, source, parent in zip(*columns, strict=True)
    )


def _parents(parts: Sequence[Label]) -> dict[str, list[Any]]:
    """The labels that the parts are pieces of, by name, parents first: each one's fields, then its parent's name."""
    above = {label for part in parts for label in part.path() if label is not part}
    return {
        storable(str(label)): [*_fields(label), storable(str(label.parent or ""))]
        for label in sorted(above, key=lambda label: (sum(1 for _ in label.path()), str(label)))
    }


def _labels_of(parents: _Parents) -> dict[str, Label]:
    """The labels of `_parents`; as each stands after its parent, none can be above itself."""
    known: dict[str, Label] = {}
    for name, (kind, layer, index, text, source, parent) in parents.items():
        known[name] = Label(kind, layer, index, text, source, _above(parent, known))
    return known


def _above(name: str, known: Mapping[str, Label]) -> Label | None:
    if name and name not in known:
        raise ValueError(f"the part {name!r}, of which another is a piece, is not described")
    return known[name] if name else None


def _fields(label: Label) -> list[Any]:
    return [label.kind, label.layer, label.index, label.text, label.source]


def _indices(values: Sequence[int | None]) -> list[int]:
    return [_NO_INDEX if value is None else value for value in values]


def _known(value: int) -> int | None:
    return None if value == _NO_INDEX else int(value)

"""Features of sparse autoencoders and transcoders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from dla.adapters.base import ModelAdapter
from dla.adapters.stream_activations import StreamActivation, any_activation, stream_activation
from dla.decomposers.base import Decomposer
from dla.decomposers.cover import NamedPlan, merged_plans
from dla.decomposers.plans import Entry, Item
from dla.decomposers.top_k import TopK
from dla.inputs.given import Count, count
from dla.labels import Label
from dla.writes import Features
from dla.writes.dictionaries import Dictionary, read_dictionary


@final
@dataclass(frozen=True, eq=False)
class FeatureDecomposer(Decomposer):
    """One part for each feature of a dictionary, one for its `b_dec`, one for its error.

    A dictionary of a sublayer's output (`blocks.5.hook_mlp_out`) has the rows `5_mlp_out_F123`, `5_mlp_out_b_dec` and
    `5_mlp_out_error`; one of `z` has the rows `5_z_F123`, ... through `W_O`; one of the stream
    (`blocks.6.hook_resid_post`, rows `6_post_F123`, ...) covers everything that was written before. A transcoder reads
    one activation and explains another; a skip connection is a row `5_mlp_out_skip`. What no dictionary explains has
    the rows of `ComponentDecomposer`.

    Attributes:
        dictionaries: One object with `encode`, `W_dec` and `b_dec` (an SAE or Transcoder of SAELens, or your own with
            a `site`), which treats each position on its own; a list of them; or a dict from hook name to object, or
            from `(reads, writes)` to transcoder.
        top_k: Show only so many features of each dictionary, and the sum of the others as one row,
            `5_mlp_out_other_features`. Chosen as in `NeuronDecomposer`. None shows all.

    Raises:
        TypeError: If an object is not a dictionary, or `top_k` is not a whole number.
        ValueError: If it does not say where it belongs.
        UnsupportedModelError: If its features of a position depend on the other positions, or its `decode` is not
            linear in them.

    Source: Bricken et al. 2023, "Towards Monosemanticity".
    """

    dictionaries: Any
    top_k: Count | None = None

    def __post_init__(self) -> None:
        if self.top_k is not None:
            count(self.top_k, "top_k", "feature, or pass None for all")
        if not self._read():
            raise ValueError("No dictionary was given. Pass at least one.")

    def writes(self, model: ModelAdapter) -> Sequence[Item]:
        """The plan.

        Raises:
            ValueError: If the model has no such place, two dictionaries explain the same part of the stream, or one
                is not as wide as the activation.
        """
        return merged_plans([self._named(dictionary, model) for dictionary in self._read()], model)

    def _read(self) -> list[Dictionary]:
        if isinstance(self.dictionaries, Mapping):
            return [read_dictionary(source, at) for at, source in self.dictionaries.items()]
        several = isinstance(self.dictionaries, list | tuple)
        return [read_dictionary(source, None) for source in (self.dictionaries if several else [self.dictionaries])]

    def _named(self, dictionary: Dictionary, model: ModelAdapter) -> NamedPlan:
        # A dictionary whose `encode` takes heads on an axis of their own still explains all heads in one row.
        written = stream_activation(model, dictionary.writes)
        own = written.head_site if dictionary.by_head and written.head_site is not None else written.site
        read = own if dictionary.reads == dictionary.writes else any_activation(dictionary.reads)
        _check_width(dictionary, written, model)
        features, rest = _labels(dictionary, written)
        write = Features(dictionary, read, written.site, written.weight, [*features, *rest], written.route)
        name = f"the dictionary of {dictionary.writes!r}"
        if self.top_k is None:
            return name, [write, *written.biases]
        strongest = TopK(int(self.top_k), _label(written, "other_features"), kind="feature")
        return name, [Entry(written.label, lambda _: write, (strongest,)), *written.biases]


def _check_width(dictionary: Dictionary, place: StreamActivation, model: ModelAdapter) -> None:
    width = len(model.anatomy.unembedding.W_U if place.weight is None else place.weight)
    if dictionary.W_dec.shape[1] != width:
        raise ValueError(
            f"The dictionary of {dictionary.writes!r} writes vectors of {dictionary.W_dec.shape[1]} numbers and the "
            f"activation there has {width}. Pass one that was made for this model."
        )


def _labels(dictionary: Dictionary, place: StreamActivation) -> tuple[list[Label], list[Label]]:
    features = [
        Label("feature", place.label.layer, i, f"{place.name}_F{i}", parent=place.label)
        for i in range(len(dictionary.W_dec))
    ]
    rest = ["b_dec", "error"] if dictionary.W_skip is None else ["b_dec", "skip", "error"]
    return features, [_label(place, kind) for kind in rest]


def _label(place: StreamActivation, kind: str) -> Label:
    return Label(kind, place.label.layer, text=f"{place.name}_{kind}", parent=place.label)

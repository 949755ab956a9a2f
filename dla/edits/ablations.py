"""What may stand in the place of what a part wrote."""

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, final, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dla.inputs.arguments import instance
from dla.inputs.given import number, shown
from dla.inputs.prompts import Prompts

if TYPE_CHECKING:
    from dla.inputs.prompts import Text

    Asked = Text | Tensor | Prompts
else:  # a type checker at run time would refuse a wrong argument before `read_prompts` can explain what is wrong
    Asked = object


@runtime_checkable
class PromptSource(Protocol):
    """What knows prompts, such as the folder of a sweep."""

    def prompts(self) -> list[str]:
        """The prompts, as text."""


@final
@dataclass(frozen=True, eq=False)
class Written:
    """What a part writes on some prompts: the activation that it is made of.

    That is `z` of a head (`width` is `d_head`), `post` of a neuron and the pattern's entry of a source (1), and the
    vector that is added to the stream (`d_model`) for every other part.

    Attributes:
        values: The activation.
        real: False where a short prompt is padded.
    """

    values: Float[Tensor, "batch pos width"]
    real: Bool[Tensor, "batch pos"]


class Ablation(abc.ABC):
    """What stands in the place of what a part writes.

    Law: `replace` depends on what it is given and on nothing else, and gives finite numbers of the part's width, one
    vector for all prompts and positions or one for each.
    """

    prompts: Any = None
    """Other prompts on which it must know what the part writes; None if it needs none."""

    @abc.abstractmethod
    def replace(self, own: Written, other: Written | None) -> Float[Tensor, "#batch #pos width"]:
        """What the part writes instead.

        Args:
            own: What it writes in this run.
            other: What it writes on `prompts`, in a run without edits; None if there are none.

        Raises:
            ValueError: If the ablation does not fit the part; says why.
        """


@final
@dataclass(frozen=True)
class Zero(Ablation):
    """Nothing: zero."""

    def replace(self, own: Written, other: Written | None) -> Float[Tensor, "#batch #pos width"]:
        return torch.zeros_like(own.values[:1, :1])


@final
@dataclass(frozen=True, eq=False)
class Mean(Ablation):
    """The mean of what the part writes on other prompts, over all their prompts and positions.

    Attributes:
        prompts: The prompts, as `attribute` reads them, or the folder of a sweep (`dla.open_sweep`), for all of its.
            The model runs on some of them at a time.
        by_position: Whether to take the mean over the prompts only, one for each position; all prompts must then have
            as many tokens as the prompts that are attributed.

    Source: Wang et al. 2022, "Interpretability in the Wild" (arXiv 2211.00593).
    """

    prompts: Asked
    by_position: bool = False

    def __post_init__(self) -> None:
        _given(self.prompts, "Mean")
        instance(self.by_position, bool, "Mean: by_position", "True or False")

    def replace(self, own: Written, other: Written | None) -> Float[Tensor, "#batch #pos width"]:
        assert other is not None
        if self.by_position:
            _same_lengths(own, other, "Mean(by_position=True)")
            return other.values.mean(0, keepdim=True)
        return other.values[other.real].mean(0)[None, None]


@final
@dataclass(frozen=True, eq=False)
class Resample(Ablation):
    """What the part writes at the same position of another prompt.

    Attributes:
        prompts: One prompt for all, or one for each prompt that is attributed, with as many tokens as that.

    Source: Geiger et al. 2021, "Causal Abstractions of Neural Networks" (arXiv 2106.02997); known as patching.
    """

    prompts: Asked

    def __post_init__(self) -> None:
        _given(self.prompts, "Resample")

    def replace(self, own: Written, other: Written | None) -> Float[Tensor, "#batch #pos width"]:
        assert other is not None
        if len(other.values) not in (1, len(own.values)):
            raise ValueError(
                f"Resample has {len(other.values)} prompts for {len(own.values)} that are attributed. Pass one for "
                "each, or one for all."
            )
        _same_lengths(own, other, "Resample")
        return other.values


@final
@dataclass(frozen=True, eq=False)
class Fixed(Ablation):
    """A given vector, the same at every position.

    Attributes:
        vector: `[width]`, see `Written`; or one number for all entries.
    """

    vector: Any

    def __post_init__(self) -> None:
        _check_vector(self.vector, "Fixed")

    def replace(self, own: Written, other: Written | None) -> Float[Tensor, "#batch #pos width"]:
        return _fitting(self.vector, own, "Fixed")


@final
@dataclass(frozen=True, eq=False)
class Add(Ablation):
    """What the part writes, and a given vector with it: a steering vector, at a place of the stream.

    Attributes:
        vector: `[width]`, see `Written`; or one number for all entries.

    Source: Turner et al. 2023, "Activation Addition" (arXiv 2308.10248).
    """

    vector: Any

    def __post_init__(self) -> None:
        _check_vector(self.vector, "Add")

    def replace(self, own: Written, other: Written | None) -> Float[Tensor, "#batch #pos width"]:
        return own.values + _fitting(self.vector, own, "Add")


def _given(prompts: object, whose: str) -> None:
    if prompts is None:
        raise TypeError(f"{whose} needs prompts. Pass a text, several, or token ids.")


def _check_vector(vector: object, whose: str) -> None:
    remedy = "Pass a floating-point tensor [width] of finite numbers, or one number."
    if not isinstance(vector, Tensor):
        try:
            number(vector, whose)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{whose}: vector is {shown(vector)}. {remedy}") from None
    elif vector.ndim > 1 or not vector.is_floating_point() or not bool(vector.isfinite().all()):
        raise ValueError(f"{whose}: vector is {shown(vector)}. {remedy}")


def _fitting(vector: Any, own: Written, whose: str) -> Float[Tensor, "1 1 width"]:
    width = own.values.shape[-1]
    if not isinstance(vector, Tensor) or vector.ndim == 0:
        return own.values.new_full((1, 1, width), float(vector))
    if len(vector) != width:
        raise ValueError(
            f"{whose}: the vector has {len(vector)} numbers, and what the part writes there has {width}. Pass a tensor "
            f"[{width}], or one number."
        )
    return vector.detach().to(own.values)[None, None]


def _same_lengths(own: Written, other: Written, whose: str) -> None:
    def listed(lengths: Int[Tensor, " batch"]) -> str:
        return " or ".join(map(str, sorted(set(lengths.tolist()))))

    ours, theirs = own.real.sum(-1), other.real.sum(-1).to(own.real.device)
    if not bool((ours == theirs).all()):
        raise ValueError(
            f"{whose} puts position on position: its prompts have {listed(theirs)} tokens, and those that are "
            f"attributed {listed(ours)}. Reword them to the same number of tokens, or take Mean(prompts), which needs "
            "no alignment."
        )

"""What is examined: each architecture of the catalogue, in each mode that the installed TransformerLens has."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal, final

import torch
from torch import Tensor

from dla.testing.models import HOOKED, HUGGING_FACE, REFUSED, architecture, hooked_architecture

LINE = int(version("transformer-lens").split(".")[0])
"""The major version of TransformerLens."""

Family = Literal["bridge", "hooked"]
MODES: dict[Family, tuple[str, str]] = {"bridge": ("raw", "compatibility"), "hooked": ("as built", "processed")}


@final
@dataclass(frozen=True)
class Subject:
    """One architecture in one mode.

    Attributes:
        family: "bridge" for a `TransformerBridge` of a Hugging Face model, "hooked" for a `HookedTransformer`.
        name: Its name in the catalogue.
        mode: One of the family's `MODES`.
    """

    family: Family
    name: str
    mode: str

    @property
    def kept(self) -> bool:
        """Whether the weights are as they were given: not rewritten by compatibility mode or weight processing."""
        return self.mode == MODES[self.family][0]

    @property
    def decoder(self) -> bool:
        """Whether it is a decoder at all."""
        return self.family == "hooked" or architecture(self.name) not in REFUSED

    def model(self) -> Any:
        """A new model, which nothing else uses."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self.family == "hooked":
                return hooked_architecture(self.name).model(processed=not self.kept)
            return architecture(self.name).bridge("raw" if self.kept else "compatibility")

    def original(self, tokens: Tensor) -> Tensor:
        """The logits before anything was rewritten: Hugging Face's own, or those of the model as it was built."""
        with torch.no_grad():
            if self.family == "hooked":
                logits: Tensor = hooked_architecture(self.name).model()(tokens)
            else:
                model: Any = architecture(self.name).hugging_face()
                logits = model(tokens).logits
            return logits


def subjects(only: Sequence[str] = ()) -> Iterator[Subject]:
    """Every architecture in every mode on this line, or those whose names hold one of the words in `only`."""
    bridged = [e.name for e in (*HUGGING_FACE, *REFUSED) if not (e in REFUSED and LINE not in e.lines)]
    hooked = [entry.name for entry in HOOKED] if LINE < 4 else []
    names: list[tuple[Family, str]] = [("bridge", name) for name in bridged]
    names += [("hooked", name) for name in hooked]
    for family, name in names:
        if not only or any(word in name for word in only):
            yield from (Subject(family, name, mode) for mode in MODES[family])

"""What decomposers are tried on: tiny models of the catalogue, or models of the user's own."""

import abc
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from typing import Any, Literal, final

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from dla.adapters import ModelAdapter, adapt
from dla.errors import UnsupportedModelError
from dla.inputs.arguments import check_fields, choice
from dla.inputs.given import count, items, shown
from dla.testing.altered_adapter import AlteredAdapter
from dla.testing.models import HookedArchitecture, HuggingFaceArchitecture, architecture, bridge_of, hooked_architecture
from dla.testing.models.hugging_face import Mode
from dla.testing.remembered_runs import RememberedRuns

_MOST_LAYERS = 1000

LINE = int(version("transformer-lens").split(".")[0])
"""The major version of TransformerLens."""


class Subject(abc.ABC):
    """One model to try something on.

    Law: `model()` gives the same weights each time, and `logits` are the model's own, found without a line of the
    library where there is a way to.
    """

    @abc.abstractmethod
    def model(self) -> Any:
        """The model; who asks leaves it as it was found."""

    @abc.abstractmethod
    def logits(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_vocab"]:
        """What the model itself returns."""

    @abc.abstractmethod
    def smaller(self) -> Sequence["Subject"]:
        """The same with fewer layers, the smallest first; none if there is no such model."""

    @abc.abstractmethod
    def adapter(self) -> ModelAdapter:
        """The adapter for the model."""

    @property
    @final
    def eps(self) -> float:
        """The rounding unit of the model's own arithmetic."""
        return self.adapter().anatomy.eps


@final
@dataclass(frozen=True)
class TinyModel(Subject):
    """A tiny model of the catalogue, every parameter random.

    Attributes:
        name: The entry's name in `HUGGING_FACE` or `HOOKED`.
        family: "bridge" for a Hugging Face model in a `TransformerBridge`, "hooked" for a `HookedTransformer`.
        processed: In compatibility mode, or with processed weights; not as it bridge_ofs.
        dtype: Of the parameters.
        n_layers: How many blocks, where that is not the entry's own number.
        seed: Selects the weights.
        keeps_value_biases: Where processed: whether value biases stay in the heads.
    """

    name: str
    family: Literal["bridge", "hooked"] = "bridge"
    processed: bool = False
    dtype: torch.dtype = torch.float32
    n_layers: int | None = None
    seed: int = 0
    keeps_value_biases: bool = False

    def __post_init__(self) -> None:
        check_fields(self, name=str, processed=bool, dtype=torch.dtype, keeps_value_biases=bool)
        choice(self.family, "TinyModel: family", ("bridge", "hooked"))
        if not self.dtype.is_floating_point:
            raise ValueError(f"TinyModel: dtype={self.dtype}. Pass one of floating point numbers.")
        count(self.seed, "TinyModel: seed", "of them", least=0)
        if self.n_layers is not None and count(self.n_layers, "TinyModel: n_layers", "layer") > _MOST_LAYERS:
            raise ValueError(f"TinyModel: n_layers={self.n_layers}; a tiny model has at most {_MOST_LAYERS}.")

    def __str__(self) -> str:
        kinds = {"bridge": ("a raw bridge", "in compatibility mode"), "hooked": ("a HookedTransformer", "processed")}
        words = [self.name, kinds[self.family][self.processed]]
        words += [] if self.dtype == torch.float32 else [str(self.dtype).removeprefix("torch.")]
        words += [] if self.n_layers is None else ["1 layer" if self.n_layers == 1 else f"{self.n_layers} layers"]
        return ", ".join(words)

    def model(self) -> Any:
        return _built(self)

    def fresh(self) -> Any:
        """A model that nothing else uses."""
        return self._hooked() if self.family == "hooked" else self._bridge()

    def logits(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_vocab"]:
        with torch.no_grad():
            untouched = self.family == "bridge" and not self.processed
            logits: Tensor = _hugging_face(self)(tokens).logits if untouched else self.model()(tokens)
            return logits

    def adapter(self) -> ModelAdapter:
        return _adapted(self)

    def smaller(self) -> Sequence["TinyModel"]:
        own = int(self.model().cfg.n_layers)
        candidates = (replace(self, n_layers=n) for n in range(1, own))
        return [candidate for candidate in candidates if _exists(candidate)]

    def folded(self) -> "TinyModel | None":
        """The same with norms folded and weights centred, value biases as they were; None if there is no such one."""
        if self.processed:
            return None
        candidate = replace(self, processed=True, keeps_value_biases=True)
        return candidate if _folds(candidate) else None

    def widened(self) -> ModelAdapter | None:
        """An adapter that runs this model and has its weights in float32; None where they have as many bits already."""
        if self.family == "hooked" or self.processed or self.dtype in (torch.float32, torch.float64):
            return None
        wide = bridge_of(self.entry().hugging_face(self.seed, self.dtype).float())
        return AlteredAdapter(self.model(), lambda _: adapt(wide).anatomy)

    def entry(self) -> HuggingFaceArchitecture:
        """The bridge's architecture, with as many blocks as asked."""
        entry = architecture(self.name)
        return entry if self.n_layers is None else replace(entry, config=lambda: self._cut(entry))

    def _cut(self, entry: HuggingFaceArchitecture) -> Any:
        config = entry.config()
        config.num_hidden_layers = self.n_layers  # every configuration maps this name
        types = config.to_dict().get("layer_types")
        if types is not None:
            config.layer_types = types[: self.n_layers]
        return config

    def _bridge(self) -> Any:
        mode: Mode = "compatibility" if self.processed else "raw"
        return self.entry().bridge(mode, self.seed, self.dtype, fold_value_biases=not self.keeps_value_biases)

    def _hooked(self) -> Any:
        entry = hooked_architecture(self.name)
        layers = {} if self.n_layers is None else {"n_layers": self.n_layers}
        entry = HookedArchitecture(entry.name, {**entry.switches, **layers}, entry.processes)
        return entry.model(self.seed, self.dtype, self.processed, fold_value_biases=not self.keeps_value_biases)


@final
@dataclass(frozen=True, eq=False)
class UserModel(Subject):
    """A model that the user has: a `HookedTransformer`, a `TransformerBridge` or a `ModelAdapter`."""

    own: Any

    def __str__(self) -> str:
        return f"your {type(self.own).__name__}"

    def model(self) -> Any:
        return self.own

    def logits(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_vocab"]:
        with torch.no_grad():
            return adapt(self.own).run(tokens, {}, None)

    def adapter(self) -> ModelAdapter:
        return adapt(self.own)

    def smaller(self) -> Sequence[Subject]:
        return ()


@contextlib.contextmanager
def rebuilt_if_changed(subject: Subject) -> Iterator[None]:
    """Forgets the cached models of the catalogue at the end, if this one's weights were written to in between."""
    before = _versions(subject.model())
    yield
    if isinstance(subject, TinyModel) and _versions(subject.model()) != before:
        _built.cache_clear()
        _adapted.cache_clear()


def _versions(model: Any) -> list[int]:
    """How often each weight was written to."""
    return [tensor._version for tensor in model.parameters()] if isinstance(model, nn.Module) else []


def copied_weights(model: Any) -> dict[str, Shaped[Tensor, "..."]]:
    """A copy of every weight of a model of TransformerLens; empty for any other model."""
    if not isinstance(model, nn.Module):
        return {}
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def subjects_given(models: object) -> list[Subject]:
    """The subjects of a list that a user passes.

    Raises:
        TypeError: If it is no list.
        ValueError: If it is empty, or there is no entry of a name.
        UnsupportedModelError: If one is no model.
    """
    given = items(models)
    if given is None:
        raise TypeError(f"models={shown(models)} is not a list. Pass models, adapters or names of entries in one.")
    if not given:
        raise ValueError("models is empty, so there is nothing to try on. Pass at least one, or leave it out.")
    return [as_subject(model) for model in given]


def as_subject(model: Any) -> Subject:
    """A subject for a model, for the name of an entry of the catalogue, or the subject itself."""
    if isinstance(model, Subject):
        return model
    return TinyModel(model) if isinstance(model, str) else UserModel(model)


@cache
def _built(subject: TinyModel) -> Any:
    return subject.fresh()


@cache
def _adapted(subject: TinyModel) -> ModelAdapter:
    """An adapter that looks at the model once, and runs it once on the same prompts: it stays as it is."""
    return RememberedRuns(adapt(subject.model()))


@cache
def _hugging_face(subject: TinyModel) -> Any:
    return subject.entry().hugging_face(subject.seed, subject.dtype)


def _builds(subject: TinyModel) -> bool:
    """Whether transformers and TransformerLens can build the model at all."""
    try:
        subject.model()
    except Exception:  # they refuse a number of blocks, or to process weights, with whatever error comes up
        return False
    return True


@cache
def _exists(subject: TinyModel) -> bool:
    """Whether the model can be built and attributed: not every architecture can be cut to any number of blocks."""
    try:
        return _builds(subject) and subject.adapter().n_layers == subject.n_layers
    except UnsupportedModelError:
        return False


@cache
def _folds(subject: TinyModel) -> bool:
    """Whether weight processing leaves the differences of logits as they are, in the model's own opinion."""
    hooked = subject.family == "hooked"
    if (hooked and not hooked_architecture(subject.name).processes) or not _builds(subject):
        return False
    tokens = torch.randint(4, 40, (2, 6), generator=torch.Generator().manual_seed(0))
    left, right = (x.logits(tokens).log_softmax(-1) for x in (subject, replace(subject, processed=False)))
    return bool((left - right).abs().max() <= 1e-3 * left.abs().max())

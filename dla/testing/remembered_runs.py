"""The adapter of a model that stays as it is: what it did with some prompts is remembered, and shown again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float, Int, Shaped
from torch import Tensor

from dla.adapters import ModelAdapter
from dla.adapters.anatomy import Anatomy
from dla.adapters.base import Observer
from dla.adapters.reads import ModelReads
from dla.inputs.vocabulary import Vocabulary

_MOST = 64
"""How many runs of one model are remembered."""

_Key = tuple[tuple[int, ...], ...]


@final
@dataclass(frozen=True, eq=False)
class _Run:
    """What hooks showed, in the order in which they fired, and what the model returned."""

    names: frozenset[str]
    shown: tuple[tuple[str, Shaped[Tensor, "..."]], ...]
    logits: Float[Tensor, "batch query d_vocab"]


@final
class RememberedRuns(ModelAdapter):
    """A model whose weights nobody changes: it runs once on the same prompts, whatever is asked of that run.

    Observers get copies, so that one who writes to what it is shown spoils nothing; that it does is seen in a real run.
    """

    def __init__(self, model: ModelAdapter) -> None:
        """Looks at the model once.

        Args:
            model: The model.
        """
        self._model, self._anatomy = model, model.anatomy
        self._runs: dict[_Key, _Run] = {}

    @property
    def anatomy(self) -> Anatomy:
        return self._anatomy

    @property
    def vocabulary(self) -> Vocabulary:
        return self._model.vocabulary

    @property
    def reads(self) -> ModelReads | None:
        return self._model.reads

    @property
    def context(self) -> int | None:
        return self._model.context

    def owns(self, cache: Any) -> bool:
        return self._model.owns(cache)

    def run(
        self, tokens: Int[Tensor, "batch pos"], observe: Mapping[str, Observer], rows: Int[Tensor, "batch query"] | None
    ) -> Float[Tensor, "batch query d_vocab"]:
        key = (*map(tuple, tokens.tolist()), (-1,), *(() if rows is None else map(tuple, rows.tolist())))
        run = self._runs.get(key)
        if run is None or not observe.keys() <= run.names:
            run = self._recorded(tokens, observe.keys() | (frozenset() if run is None else run.names), rows)
            if len(self._runs) >= _MOST:
                self._runs.pop(next(iter(self._runs)))
            self._runs[key] = run
        for name, activation in run.shown:
            if name in observe:
                observe[name](activation.clone())
        return run.logits.clone()

    def _recorded(
        self, tokens: Int[Tensor, "batch pos"], names: Iterable[str], rows: Int[Tensor, "batch query"] | None
    ) -> _Run:
        shown: list[tuple[str, Tensor]] = []

        def observer(name: str) -> Observer:
            return lambda activation: shown.append((name, activation.detach().clone()))

        logits = self._model.run(tokens, {name: observer(name) for name in names}, rows)
        return _Run(frozenset(names), tuple(shown), logits)

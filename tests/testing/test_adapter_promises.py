"""What an adapter promises beside its anatomy: adapters that break one promise, and the step that says so."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import pytest
from torch import Tensor

import dla
from dla.adapters import Anatomy, Observer
from dla.adapters.base import Editing
from dla.inputs import Vocabulary
from dla.testing import TinyModel, check_adapter


class Delegate(dla.ModelAdapter):
    """A model's own adapter, whose answers subclasses replace."""

    def __init__(self) -> None:
        self.own = dla.adapt(TinyModel("gpt2").model())

    @cached_property
    def anatomy(self) -> Anatomy:
        return self.own.anatomy

    @property
    def vocabulary(self) -> Vocabulary:
        return self.own.vocabulary

    def tensors(self) -> list[tuple[str, Tensor]]:
        return self.own.tensors()

    def owns(self, cache: Any) -> bool:
        return self.own.owns(cache)

    def run(self, tokens: Tensor, observe: Mapping[str, Observer], rows: Tensor | None) -> Tensor:
        return self.own.run(tokens, observe, rows)

    def editing(self, changes: Mapping[str, Editing]) -> AbstractContextManager[None]:
        return self.own.editing(changes)

    def generate(self, tokens: Sequence[int], n: int, options: Mapping[str, Any]) -> list[int]:
        return self.own.generate(tokens, n, options)


class PassesOverHeads(Delegate):
    def editing(self, changes: Mapping[str, Editing]) -> AbstractContextManager[None]:
        return self.own.editing({name: change for name, change in changes.items() if "resid" in name})


class KeepsEdits(Delegate):
    @contextmanager
    def editing(self, changes: Mapping[str, Editing]) -> Iterator[None]:
        self.open = self.own.editing(changes)
        self.open.__enter__()
        yield
        self.open.__exit__(None, None, None)


class WritesThePrompt(Delegate):
    def generate(self, tokens: Sequence[int], n: int, options: Mapping[str, Any]) -> list[int]:
        return [*tokens, *self.own.generate(tokens, n, options)]


class WritesSomethingElse(Delegate):
    def generate(self, tokens: Sequence[int], n: int, options: Mapping[str, Any]) -> list[int]:
        return [(token + 1) % self.vocabulary.size for token in self.own.generate(tokens, n, options)]


class LongestFirst(Delegate):
    def run(self, tokens: Tensor, observe: Mapping[str, Observer], rows: Tensor | None) -> Tensor:
        order = (tokens != self.vocabulary.pad).sum(1).argsort(descending=True, stable=True)
        return self.own.run(tokens[order], observe, None if rows is None else rows[order])


class HasNoFingerprint(Delegate):
    def tensors(self) -> list[tuple[str, Tensor]]:
        return []


class ShiftsItsWords(Delegate):
    @property
    def vocabulary(self) -> Vocabulary:
        words = self.own.vocabulary
        assert words.decode is not None
        return replace(words, decode=lambda token: words.decode(token if token < 100 else 100 + (token - 99) % 6))


class LosesWords(Delegate):
    @property
    def vocabulary(self) -> Vocabulary:
        words = self.own.vocabulary
        return replace(
            words, unknown=None, encode=lambda text, bos: [t for t in words.encode(text, bos) if t != words.unknown]
        )


WRONG = {
    PassesOverHeads: ("editing", r"Observers of blocks\.1\.attn\.hook_z must see what takes the place"),
    KeepsEdits: ("editing", r"stay after an error inside\. Take them off in `finally`"),
    WritesThePrompt: (
        "generate",
        r"Asked for 3 tokens, it gave \[.*\]\. Give what the model writes, without the prompt",
    ),
    WritesSomethingElse: ("generate", r"has a logit .* below the largest"),
    LongestFirst: ("unequal lengths", r"miss those of each prompt alone"),
    HasNoFingerprint: ("fingerprint", r"every checkpoint would have the same fingerprint"),
    ShiftsItsWords: ("vocabulary", r"Id 100 is .* for `decode`"),
    LosesWords: ("vocabulary", r"'xylophonist' has no ids for `encode`, so prompts lose words"),
}


def test_the_adapter_that_keeps_its_promises_passes() -> None:
    report = check_adapter(Delegate())
    assert report.ok, str(report)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
def test_a_broken_promise_is_found_by_its_own_step(wrong: type[Delegate]) -> None:
    failure = check_adapter(wrong()).first_failure()
    step, words = WRONG[wrong]
    assert failure is not None
    assert failure.name == step
    with pytest.raises(AssertionError, match=words):
        check_adapter(wrong()).raise_for_failure()


@pytest.mark.parametrize("name", ["mpt", "nanochat", "olmo", "glm_moe_dsa"])
def test_models_with_something_unusual_pass(name: str) -> None:
    """Lengths of their own, a norm that is used twice, one whose scale is not known elsewhere, caches that change."""
    report = check_adapter(TinyModel(name).model())
    assert report.ok, str(report)

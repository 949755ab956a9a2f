"""The user's hooks: which they are, taken off and put back, and told apart."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from assertions import hooks_on
from subjects import GPT2, LLAMA, params, some_tokens
from torch import Tensor, nn

from dla.adapters.user_hooks import hooks_of, user_hooks, without_user_hooks
from dla.testing import TinyModel

SUBJECTS = params([GPT2, LLAMA, TinyModel("gpt2", processed=True), TinyModel("ln", "hooked")])
Z = "blocks.1.attn.hook_z"


def zero(activation: Tensor, hook: Any) -> Tensor:
    return 0 * activation


@pytest.mark.parametrize("subject", SUBJECTS)
def test_only_the_users_hooks_are_found_and_silenced(subject: TinyModel) -> None:
    model, tokens = subject.model(), some_tokens(1)
    with torch.no_grad():
        own = model(tokens)  # a bridge puts hooks of its own on its modules when it first runs
    assert hooks_of(model) == ()
    before = hooks_on(model)
    module = model.blocks[0].attn
    handles = [
        module.register_forward_hook(lambda _m, _a, output: torch.utils._pytree.tree_map(lambda t: 0 * t, output)),
        module.register_forward_pre_hook(lambda _module, _args: None),
    ]
    model.blocks[1].mlp.register_full_backward_hook(lambda *_: None)
    model.add_hook("blocks.1.hook_resid_pre", zero, is_permanent=True)
    try:
        with model.hooks(fwd_hooks=[(Z, zero)], bwd_hooks=[(Z, zero)]):
            found = [(hook.place, hook.layer) for hook in user_hooks(model)]
            assert sorted(found) == [*[("blocks.0.attn", 0)] * 2, (Z, 1), ("blocks.1.hook_resid_pre", 1)]
            hooked = hooks_on(model)
            with torch.no_grad(), without_user_hooks(model):
                torch.testing.assert_close(model(tokens), own, rtol=0, atol=0)
                assert hooks_of(model) == ()
            assert hooks_on(model) == hooked
            with torch.no_grad():
                assert not torch.allclose(model(tokens), own)
            with pytest.raises(KeyboardInterrupt), without_user_hooks(model):
                raise KeyboardInterrupt
            assert hooks_on(model) == hooked
    finally:
        model.reset_hooks(including_permanent=True)
        model.blocks[1].mlp._backward_hooks.clear()
        for handle in handles:
            handle.remove()
    assert hooks_on(model) == before


def test_what_was_registered_while_the_hooks_were_silent_stays_and_what_was_removed_stays_away() -> None:
    layer = nn.Linear(2, 2)
    first, own, last = (
        layer.register_forward_hook(function) for function in (lambda *_: None, torch.nn.utils.parametrize.cached, zero)
    )
    with without_user_hooks(layer):
        assert list(layer._forward_hooks) == [own.id]
        own.remove()
        new = layer.register_forward_hook(lambda *_: None)
    assert list(layer._forward_hooks) == [first.id, last.id, new.id]
    first.remove()
    assert list(layer._forward_hooks) == [last.id, new.id]


def test_hooks_of_all_modules_at_once() -> None:
    model = GPT2.model()
    handle = nn.modules.module.register_module_forward_hook(lambda _m, _a, output: None)
    try:
        assert [hook.place for hook in user_hooks(model)] == ["every module"]
        with without_user_hooks(model):
            assert user_hooks(model) == ()
        assert len(user_hooks(model)) == 1
    finally:
        handle.remove()


def adding(amount: float) -> Callable[..., Tensor]:
    return lambda activation, hook: activation + amount


class Steering:
    """A hook with a vector of its own."""

    def __init__(self, vector: Tensor) -> None:
        self.vector, self.seen = vector, list[Tensor]()

    def __call__(self, activation: Tensor, hook: Any) -> Tensor:
        self.seen.append(activation)
        return activation + self.vector

    def scaled(self, activation: Tensor, hook: Any) -> Tensor:
        return activation * self.vector


def test_hooks_are_told_apart_by_what_they_do() -> None:
    model, ones = GPT2.model(), torch.ones(1)
    functions: list[Any] = [
        *(zero, adding(1.0), adding(2.0), Steering(ones), Steering(2 * ones), Steering(ones).scaled),
        *(partial(zero, hook=1), partial(zero, hook=2), lambda x, hook: 1 * x, lambda x, hook: 3 * x),
    ]

    def texts() -> list[str]:
        found = []
        for function in functions:
            with model.hooks(fwd_hooks=[(Z, function)]):
                (text,) = hooks_of(model)
                found.append(text)
        return found

    first = texts()
    assert len(set(first)) == len(functions)
    functions[3].seen.append(ones)
    assert texts() == first
    assert first[0].startswith(f"{Z}: {__name__}.zero ")
    assert first[1].startswith(f"{Z}: {__name__}.adding.<locals>.<lambda> ")
    assert first[3].startswith(f"{Z}: {__name__}.Steering ")

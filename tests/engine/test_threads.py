"""Threads that share a model take turns: each gets the numbers that it gets alone."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from subjects import GPT2, some_tokens

import dla
from dla.adapters.turns import turn_on
from dla.adapters.user_hooks import hooks_of, is_readout_hooked

WIDTH, CALLS = 20, 24


def ask(attributor: dla.Attributor, call: int) -> dla.Attribution:
    """Prompts of its own for each call; every third asks at all positions, and looks closer."""
    tokens = some_tokens(call, width=WIDTH)
    result = attributor.attribute(tokens, dla.LogitDifference(call % 7, 8), pos=None if call % 3 == 0 else -1)
    if call % 3 == 0:
        assert result.part("L1H1").vector().shape[:2] == tokens.shape
        return result.refine("0_mlp_out", by=dla.NeuronDecomposer())
    return result


@pytest.mark.parametrize("several", [False, True], ids=["one attributor", "an attributor each"])
def test_threads_on_one_model_take_turns(several: bool) -> None:
    model = GPT2.fresh()
    attributors = [dla.Attributor(model, dla.HeadDecomposer()) for _ in range(4 if several else 1)]
    alone = [ask(attributors[call % len(attributors)], call) for call in range(CALLS)]
    with ThreadPoolExecutor(4) as pool:
        shared = list(pool.map(lambda call: ask(attributors[call % len(attributors)], call), range(CALLS)))
    for one, other in zip(alone, shared, strict=True):
        torch.testing.assert_close(other.values, one.values, rtol=0, atol=1e-5)
        torch.testing.assert_close(other.logit, one.logit, rtol=0, atol=1e-5)


def test_threads_may_look_at_a_new_model_at_once() -> None:
    model = GPT2.fresh()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: dla.Attributor(model, dla.HeadDecomposer()), range(4)))
    assert len({id(attributor.model.anatomy) for attributor in found}) == 1


def test_the_observers_of_another_thread_are_no_hooks_of_the_user() -> None:
    model = GPT2.fresh()
    with ThreadPoolExecutor(1) as pool:
        with turn_on(model), model.hooks(fwd_hooks=[("blocks.0.hook_mlp_out", lambda x, hook: x)]):
            asked = [pool.submit(hooks_of, model), pool.submit(is_readout_hooked, model, model.unembed)]
            with pytest.raises(TimeoutError):
                asked[0].result(timeout=0.2)
        assert [each.result() for each in asked] == [(), False]


def test_what_is_no_key_has_a_turn_too() -> None:
    with turn_on([]), turn_on([]):
        pass
    assert turn_on(GPT2.model()) is turn_on(GPT2.model())

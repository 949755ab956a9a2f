"""What a decomposer, an adapter or a cache is made of is checked where it is made, and not where it is used."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from odd_values import ODD, badly_answered
from subjects import GPT2, cached, some_tokens

import dla

TOKENS, LOGIT = some_tokens(14), dla.Logit(9)
COMPONENTS = dla.Attributor(GPT2.model(), dla.ComponentDecomposer())
CACHE = dict(cached(GPT2.model(), TOKENS).items())
SITE, LABEL = dla.Site("blocks.0.hook_attn_out"), dla.Label("attn_out", 0)
WRITE = dla.FullOutput(SITE, LABEL)


def as_users_have_it(kind: type, *given: Any) -> Any:
    """An object, made without the type checks that the test-suite adds, which would be the first to object."""
    made = object.__new__(kind)
    inspect.unwrap(kind.__init__)(made, *given)
    return made


MADE: dict[str, Callable[[Any], Any]] = {
    "Label: kind": lambda v: dla.Label(v),
    "Label: layer": lambda v: dla.Label("head", v),
    "Label: text": lambda v: dla.Label("head", text=v),
    "Label: parent": lambda v: dla.Label("head", parent=v),
    "Site": lambda v: dla.Site(v),
    "Site: read": lambda v: dla.Site("hook", read=v),
    "Norm": lambda v: dla.Norm(v),
    "Route": lambda v: dla.Route(v),
    "Route: multiplier": lambda v: dla.Route(multiplier=v),
    "FullOutput: site": lambda v: dla.FullOutput(v, LABEL),
    "FullOutput: label": lambda v: dla.FullOutput(SITE, v),
    "Change": lambda v: dla.Change(SITE, v, LABEL),
    "Constant": lambda v: dla.Constant(v, LABEL),
    "SumOf": lambda v: dla.SumOf(v, LABEL),
    "SumOf: a write": lambda v: dla.SumOf([v], LABEL),
    "NeuronWrites: parts": lambda v: dla.NeuronWrites(SITE, torch.ones(1, 32), v),
    "HeadWrites: a part": lambda v: dla.HeadWrites(SITE, torch.ones(1, 8, 32), [v]),
    "Rows": lambda v: dla.Rows([LABEL], v),
    "Entry: parent": lambda v: dla.Entry(v, lambda prompts: WRITE),
    "Entry: resolve": lambda v: dla.Entry(LABEL, v),
    "Part": lambda v: dla.Part(v, torch.ones(1), None),
    "TokenEffects": lambda v: dla.TokenEffects(v, (), ()),
    "TransformerBridgeAdapter": lambda v: dla.TransformerBridgeAdapter(v),
    "HookedTransformerAdapter": lambda v: dla.HookedTransformerAdapter(v),
    **{
        f"{name} in a cache": lambda v, name=name: COMPONENTS.attribute(TOKENS, LOGIT, cache={**CACHE, name: v})
        for name in ("unembed.hook_in", "hook_embed", "blocks.0.hook_attn_out", "ln_final.hook_scale")
    },
}


@pytest.mark.parametrize("what", MADE)
def test_an_odd_value_is_taken_or_told(what: str) -> None:
    assert badly_answered(MADE[what]) == {}


@pytest.mark.parametrize("what", ["Label: parent", "Site: read", "SumOf", "Entry: parent", "hook_embed in a cache"])
@pytest.mark.filterwarnings("ignore")  # some odd values warn of themselves
def test_where_nothing_odd_can_be_meant_nothing_is_taken(what: str) -> None:
    meant = {"Label: parent": ("nothing", "a label"), "Site: read": ("a function",), "Entry: parent": ("a label",)}
    for name, make in ODD.items():
        if name not in meant.get(what, ()) and "nested" not in name:
            with pytest.raises((TypeError, ValueError)):
                MADE[what](make())


def test_a_sum_of_a_generator_is_the_sum_of_all() -> None:
    model = dla.adapt(GPT2.model())
    writes = model.sublayers(0)
    total = as_users_have_it(dla.SumOf, (write for write in writes), LABEL)
    assert total.reads == total.reads == dla.SumOf(writes, LABEL).reads != ()


def test_labels_take_whole_numbers_of_other_libraries() -> None:
    assert str(as_users_have_it(dla.Label, "head", np.int64(9), np.int32(6))) == "L9H6"
    assert as_users_have_it(dla.Label, "head", np.int64(9), 6) == dla.Label("head", 9, 6)


def test_as_many_labels_as_parts() -> None:
    with pytest.raises(ValueError, match=r"There are 1 labels for 2 parts\. Pass one for each\."):
        dla.NeuronWrites(SITE, torch.ones(2, 32), [LABEL])

"""Every argument of the core is tried with every odd value: the answer is a result, or a sentence of the library's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from odd_values import ODD, badly_answered
from subjects import GPT2, some_tokens
from torch import Tensor

import dla
from dla.adapters.base import ModelAdapter

LOGIT, HEADS, TOKENS = dla.Logit(9), dla.HeadDecomposer(), some_tokens(14)
COMPONENTS = dla.Attributor(GPT2.model(), dla.ComponentDecomposer())
RESULT = dla.Attributor(GPT2.model(), HEADS).attribute(TOKENS, LOGIT)
EFFECTS = RESULT.direct_effects()
SEVERAL = COMPONENTS.attribute(TOKENS, {"a": LOGIT, "b": dla.Logit(7)})
MLP = "blocks.1.hook_mlp_out"


def attribute(direction: Any, **options: Any) -> dla.Attribution:
    return COMPONENTS.attribute(TOKENS, direction, **options)


def split(decomposer: Any) -> Any:
    return dla.Attributor(GPT2.model(), decomposer)


class Sae:
    """A dictionary that works, but for one attribute."""

    def __init__(self, **other: Any) -> None:
        generator = torch.Generator().manual_seed(0)
        self.W_dec, self.b_dec = torch.randn(7, 32, generator=generator), torch.randn(32, generator=generator)
        self.site = MLP
        self.__dict__.update(other)

    def encode(self, x: Tensor) -> Tensor:
        return (x @ self.W_dec.T).relu()


class Wrong(dla.Decomposer):
    """A decomposer whose `writes` gives something."""

    def __init__(self, given: Any, row_kind: Any = dla.RowKind.ADDITIVE) -> None:
        self.given, self.row_kind = given, row_kind

    def writes(self, model: ModelAdapter) -> Any:
        return self.given


class Asks(dla.Direction):
    """A direction that gives something where a direction resolves or describes itself."""

    def __init__(self, resolved: Any = None, described: Any = "a wrong one") -> None:
        self.given, self.described = resolved, described

    def resolve(self, *of: Any) -> Any:
        return LOGIT.resolve(*of) if self.given is None else self.given

    def describe(self) -> Any:
        return self.described


class AsksSeveral(dla.Directions):
    """Directions that are something."""

    def __init__(self, given: Any) -> None:
        self.given = given

    def named(self, *of: Any) -> Any:
        return self.given

    def describe(self) -> str:
        return "wrong ones"


ASKED: dict[str, Callable[[Any], Any]] = {
    "a model": lambda v: dla.Attributor(v, HEADS),
    "a decomposer": split,
    "check": lambda v: dla.Attributor(GPT2.model(), HEADS, check=v),
    "unembed": lambda v: dla.Attributor(GPT2.model(), HEADS, unembed=v),
    "prompts": lambda v: COMPONENTS.attribute(v, LOGIT),
    "input_ids": lambda v: COMPONENTS.attribute({"input_ids": v}, LOGIT),
    "direction": attribute,
    "pos": lambda v: attribute(LOGIT, pos=v),
    "cache": lambda v: attribute(LOGIT, cache=v),
    "attention_mask": lambda v: attribute(LOGIT, attention_mask=v),
    "a mark of a mask": lambda v: COMPONENTS.attribute([[5, 6]], LOGIT, attention_mask=[[1, v]]),
    "prepend_bos": lambda v: attribute(LOGIT, prepend_bos=v),
    "explain_gap": lambda v: COMPONENTS.explain_gap(TOKENS, v),
    "Logit": lambda v: attribute(dla.Logit(v)),
    "LogitDifference": lambda v: attribute(dla.LogitDifference(5, v)),
    "LogProbability": lambda v: attribute(dla.LogProbability(v)),
    "LogitSet": lambda v: attribute(dla.LogitSet(v)),
    "a set for each prompt": lambda v: attribute(dla.LogitSet([[v], [5]])),
    "weights": lambda v: attribute(dla.LogitSet([5, 6], v)),
    "a weight": lambda v: attribute(dla.LogitSet([5], [v])),
    "TopTokens": lambda v: attribute(dla.TopTokens(v)),
    "ResidualVector": lambda v: attribute(dla.ResidualVector(v)),
    "at": lambda v: attribute(dla.ResidualVector(torch.ones(32), at=v)),
    "+": lambda v: attribute(LOGIT + v),
    "-": lambda v: attribute(LOGIT - v),
    "*": lambda v: attribute(LOGIT * v),
    "/": lambda v: attribute(LOGIT / v),
    "mean": lambda v: attribute(dla.mean(v)),
    "mean of": lambda v: attribute(dla.mean([LOGIT, v])),
    "a direction by name": lambda v: attribute({"a": v}),
    "a direction of a list": lambda v: attribute([v]),
    "what resolve gives": lambda v: attribute(Asks(v)),
    "what describe gives": lambda v: attribute(Asks(described=v)),
    "what named gives": lambda v: attribute(AsksSeveral(v)),
    "layers": lambda v: split(HEADS.__class__(layers=v)),
    "a layer": lambda v: split(dla.NeuronDecomposer(layers=[v])),
    "top_k": lambda v: split(dla.NeuronDecomposer(top_k=v)),
    "dictionaries": lambda v: split(dla.FeatureDecomposer(v)),
    "top_k features": lambda v: split(dla.FeatureDecomposer(Sae(), top_k=v)),
    **{
        name: lambda v, name=name: split(dla.FeatureDecomposer(Sae(**{name: v})))
        for name in ("encode", "decode", "W_dec", "b_dec", "W_skip", "site", "cfg")
    },
    "what encode gives": lambda v: split(dla.FeatureDecomposer(Sae(encode=lambda x: v))),
    "what decode gives": lambda v: split(dla.FeatureDecomposer(Sae(decode=lambda features: v))),
    "inner": lambda v: split(dla.GroupDecomposer(v, {"a": "embed"})),
    "groups": lambda v: split(dla.GroupDecomposer(HEADS, v)),
    "a group": lambda v: split(dla.GroupDecomposer(HEADS, {"a": v})),
    "what a group says": lambda v: split(dla.GroupDecomposer(HEADS, {"a": lambda label: v})),
    "decomposers": lambda v: split(dla.MixedDecomposer(v)),
    "|": lambda v: split(HEADS | v),
    "what writes gives": lambda v: split(Wrong(v)),
    "an item of writes": lambda v: split(Wrong([v])),
    "row_kind": lambda v: split(Wrong(dla.BlockDecomposer().writes(dla.adapt(GPT2.model())), v)),
    "top": lambda v: RESULT.top(v),
    "by": lambda v: RESULT.bottom(3, by=v),
    "select": lambda v: RESULT.select(v),
    "kind": lambda v: RESULT.select(kind=v),
    "layer": lambda v: RESULT.select(layer=v),
    "where": lambda v: RESULT.select(where=v),
    "what where says": lambda v: RESULT.select(where=lambda label: v),
    "part": lambda v: RESULT.part(v),
    "refine": lambda v: RESULT.refine(v, by=dla.SourceDecomposer()),
    "refine by": lambda v: RESULT.refine("L1H1", by=v),
    "group_by": lambda v: RESULT.group_by(v),
    "what group_by's function gives": lambda v: RESULT.group_by(lambda label: v),
    "direction of a result": lambda v: SEVERAL.direction(v),
    "table": lambda v: RESULT.table(v),
    "table of effects": lambda v: EFFECTS.table(v),
    "top of effects": lambda v: EFFECTS.top(v),
    "order of effects": lambda v: EFFECTS.top(1, by=v),
    "direction of effects": lambda v: EFFECTS.direction(v),
    "save": lambda v: RESULT.save(v),
    "load": lambda v: dla.load(v),
    "top_tokens": lambda v: RESULT.part("L1H1").top_tokens(v),
}


@pytest.mark.parametrize("argument", ASKED)
def test_an_odd_value_is_taken_or_told(argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert badly_answered(ASKED[argument]) == {}


@pytest.mark.parametrize(
    "argument", ["check", "unembed", "by", "what group_by's function gives", "what resolve gives", "what named gives"]
)
@pytest.mark.filterwarnings("ignore")  # some odd values warn of themselves
def test_where_nothing_odd_can_be_meant_nothing_is_taken(argument: str) -> None:
    meant = {"what group_by's function gives": ["a label"], "what resolve gives": ["nothing"]}
    for name, make in ODD.items():
        if name not in meant.get(argument, []) and "nested" not in name:
            with pytest.raises((TypeError, ValueError)):
                ASKED[argument](make())


def test_what_is_no_truth_is_not_taken_for_one() -> None:
    """Layer 0 is a number and false, and a generator is always true."""
    for ask in (
        lambda says: RESULT.select(where=says),
        lambda says: RESULT.group_by({"a": says}),
        lambda says: split(dla.GroupDecomposer(HEADS, {"a": says})),
    ):
        for wrong in (lambda label: label.layer, lambda label: "no", lambda label: (x for x in ()), Anything()):
            with pytest.raises(TypeError, match=r"for '(embed|L0H0)' gave .*\. It must give True or False\."):
                ask(wrong)


class Anything:
    """Can be called, and gives itself."""

    def __call__(self, label: Any) -> Any:
        return self


def test_a_generator_of_writes_loses_no_row() -> None:
    class Lazy(dla.Decomposer):
        def writes(self, model: ModelAdapter) -> Any:
            yield from HEADS.writes(model)

    for lazy, plain in (
        (Lazy(), HEADS),
        (dla.GroupDecomposer(Lazy(), {"a": "L1H1"}), dla.GroupDecomposer(HEADS, {"a": "L1H1"})),
        (Lazy() | dla.NeuronDecomposer(), HEADS | dla.NeuronDecomposer()),
    ):
        assert split(lazy).attribute(TOKENS, LOGIT).labels == split(plain).attribute(TOKENS, LOGIT).labels
    assert RESULT.group_by("component").refine("1_attn_out", by=Lazy()).labels


def test_names_are_texts_of_at_least_one_character() -> None:
    for ask in (
        lambda name: attribute({name: LOGIT}),
        lambda name: RESULT.group_by({name: "L1H1"}),
        lambda name: split(dla.GroupDecomposer(HEADS, {name: "L1H1"})),
    ):
        for name in (None, 3, ("a",), b"a"):
            with pytest.raises(TypeError, match=r"is called .*\. Pass a text as its name\.|^Type-check error"):
                ask(name)
        with pytest.raises(ValueError, match=r"is called ''\. Pass a text of at least one character"):
            ask("")


def test_numbers_that_are_written_out_are_read() -> None:
    ids = torch.tensor([[5, 6], [7, 8]])
    expected = COMPONENTS.attribute(ids, LOGIT).values
    for given in (ids.to_sparse(), ids.to(torch.uint16), ids.numpy().astype(">i4")):
        assert torch.equal(COMPONENTS.attribute(given, LOGIT).values, expected)
    vector = torch.arange(32.0)
    expected = attribute(dla.ResidualVector(vector)).values
    for given in (vector.to_sparse(), vector.numpy().astype(">f4"), vector.requires_grad_()):
        assert torch.equal(attribute(dla.ResidualVector(given)).values, expected)
    assert torch.equal(attribute(LOGIT / 2).values, attribute(0.5 * LOGIT).values)
    assert attribute(dla.Logit(torch.tensor([5, 6], dtype=torch.uint16))).provenance.direction == "logit of tokens [2]"


def test_no_decomposer_at_all_is_none() -> None:
    with pytest.raises(TypeError, match=r"The decomposers are \(\)\. Pass several in a tuple, or write a \| b\."):
        dla.MixedDecomposer(())

"""One tree: children add up to their parent, mixed plans cover each part once, groups are sums."""

import inspect
import re
from typing import Any

import pytest
import torch
from dictionaries import Perfect
from hypothesis import given
from hypothesis import strategies as st
from subjects import GPT2, LLAMA, any_of_a_few, each_of_a_few, some_ids, some_tokens

import dla
from dla.decomposers.groups import named_groups
from dla.testing import TinyModel, assert_attributions_equal, assert_refines
from dla.testing.assertions import assert_close
from dla.testing.laws.compare import sum_size

PROMPT = "Mary John gave the book to"
ASKED = dla.LogitDifference(5, 7)


def attribution(decomposer: dla.Decomposer, subject: TinyModel = GPT2, seed: int = 1) -> dla.Attribution:
    tokens = some_tokens(seed)
    return dla.Attributor(subject.model(), decomposer).attribute(tokens, dla.Logit(some_ids(seed, 2, 6)), pos=None)


def test_a_part_in_pieces_keeps_the_sum_and_names_the_pieces() -> None:
    whole = dla.Attributor(GPT2.model(), dla.ComponentDecomposer()).attribute(PROMPT, ASKED)
    fine = whole.refine("1_attn_out", by=dla.HeadDecomposer())
    finest = fine.refine("L1H1", by=dla.SourceDecomposer()).refine("0_mlp_out", by=dla.NeuronDecomposer(top_k=3))
    assert "1_attn_out" not in fine.labels
    assert {"L1H0", "L1H1", "1_b_O"} <= set(fine.labels)
    assert "L1H1" not in finest.labels
    assert "L1H0" in finest.labels
    assert "0_other_neurons" in finest.labels
    assert sum(label.startswith("L1H1 ← ") for label in finest.labels) == len(finest.tokens[0]) + 1
    for result in (fine, finest):
        assert bool((result.gap.abs() <= result.tolerance).all())
        assert_close(result.values.sum(0), result.total, sum_size(result), GPT2.eps, "total")
    assert_refines(finest, whole, eps=GPT2.eps)
    assert finest.provenance.decomposer.count("refined by") == 3


def test_pieces_are_where_their_part_was() -> None:
    whole = dla.Attributor(GPT2.model(), dla.ComponentDecomposer()).attribute(PROMPT, ASKED)
    fine = whole.refine("0_attn_out", by=dla.HeadDecomposer())
    place = whole.labels.index("0_attn_out")
    assert fine.labels[:place] == whole.labels[:place]
    assert fine.labels[place] == "L0H0"
    assert fine.labels[-1] == whole.labels[-1]


def test_one_step_up_the_tree_undoes_a_step_down() -> None:
    heads = attribution(dla.HeadDecomposer())
    back = attribution(dla.SourceDecomposer()).group_by("parent")
    assert set(back.labels) == set(heads.labels)
    for label in heads.labels:
        assert_close(back.select(label).values, heads.select(label).values, sum_size(heads), GPT2.eps, label)


@given(any_of_a_few, st.integers(0, 1), st.sampled_from(["layer", "kind", "component", "parent"]))
def test_grouped_rows_are_sums(subject: TinyModel, layer: int, key: str) -> None:
    result = attribution(dla.HeadDecomposer(), subject, seed=layer)
    grouped = result.group_by(key)
    assert len(grouped.labels) < len(result.labels)
    assert_close(grouped.values.sum(0), result.values.sum(0), sum_size(result), subject.eps, "the sum")
    if key == "layer":
        mine = result.select(layer=layer).values.sum(0)
        assert_close(grouped.select(f"layer {layer}").values[0], mine, sum_size(result), subject.eps, "layer")


GROUPS = {
    "first heads": ["L0H0", "L1H0"],
    "MLPs": re.compile(r"\d+_mlp_out"),
    "biases": lambda label: label.kind == "b_O",
    "start": "embed",
}


def test_named_groups_before_and_after_the_run_are_the_same() -> None:
    heads = attribution(dla.HeadDecomposer())
    after = heads.group_by(GROUPS)
    before = attribution(dla.GroupDecomposer(dla.HeadDecomposer(), GROUPS))
    assert before.labels == after.labels
    assert set(GROUPS) <= set(before.labels)
    assert_attributions_equal(before, after, eps=GPT2.eps)
    first = heads.select(["L0H0", "L1H0"]).values.sum(0)
    assert_close(before.select("first heads").values[0], first, sum_size(heads), GPT2.eps)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, r"No group was given\. Pass at least one"),
        ({"a": "L0H0", "b": ["L0H0"]}, r"'L0H0' is in the groups 'a' and 'b'\. Put every row into one"),
        ({"a": ["L0H0", "L7H7"]}, r"The group 'a' lists 'L7H7', and there is no such row; they are embed, pos_embed"),
        ({"a": ["L7H7"]}, r"The group 'a' has no row; the rows are .* Leave it out, or mend it\.$"),
        ({"a": "L1H"}, r"has no row; .* A text is one whole label; all labels that .* are re\.compile\('L1H\.\*'\)\."),
        ({"a": re.compile("L1")}, r"has no row; .* A regular expression has to match the whole label\.$"),
    ],
)
def test_groups_that_are_none(groups: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dla.Attributor(GPT2.model(), dla.GroupDecomposer(dla.HeadDecomposer(), groups))
    with pytest.raises(ValueError, match=message):
        attribution(dla.HeadDecomposer()).group_by(groups)


def test_a_group_with_the_name_of_another_row_is_refused() -> None:
    groups = {"L0H1": ["L0H0"]}
    with pytest.raises(ValueError, match=r"group_by names two parts 'L0H1'\. Give every part a label of its own"):
        attribution(dla.HeadDecomposer()).group_by(groups)
    with pytest.raises(ValueError, match=r"GroupDecomposer names two parts 'L0H1'"):
        attribution(dla.GroupDecomposer(dla.HeadDecomposer(), groups))


def test_a_text_with_a_star_matches_what_begins_so() -> None:
    grouped = attribution(dla.HeadDecomposer()).group_by({"heads": re.compile("L1H.*")})
    assert [label for label in grouped.labels if label.startswith("L1H")] == []


def test_groupings_that_cannot_be_read() -> None:
    result, group_by = attribution(dla.HeadDecomposer()), inspect.unwrap(dla.Attribution.group_by)
    for gives, word in ((None, "None"), ("early", "'early'")):
        with pytest.raises(TypeError, match=rf"The function gave {word} for 'embed'\. It must give the label of"):
            group_by(result, lambda label, gives=gives: gives)
    with pytest.raises(TypeError, match=r"There is no grouping \['layer'\]\. Pass one of .*, a dict, or a function"):
        group_by(result, ["layer"])
    with pytest.raises(TypeError, match=r"^3 does not say which rows are in a group\. Pass a label, several labels"):
        inspect.unwrap(named_groups)({"a": 3})


def test_only_sums_can_be_grouped_or_mixed() -> None:
    with pytest.raises(ValueError, match="rows of LayerDecomposer do not add up, so they cannot be put into groups"):
        dla.GroupDecomposer(dla.LayerDecomposer(), {"a": "0_pre"})
    with pytest.raises(ValueError, match="rows are cumulative; they do not add up, so they cannot be grouped"):
        attribution(dla.LayerDecomposer()).group_by("layer")
    with pytest.raises(ValueError, match="LensDecomposer do not add up, so it cannot be a part of a mixed"):
        dla.HeadDecomposer() | dla.LensDecomposer()
    with pytest.raises(ValueError, match=r"There is no grouping 'head'\. Pass one of \['layer', 'kind', 'parent',"):
        attribution(dla.HeadDecomposer()).group_by("head")


@each_of_a_few
def test_mixed_plans_have_the_rows_of_each(subject: TinyModel) -> None:
    mixed = (
        attribution(dla.HeadDecomposer(layers=[0]) | dla.NeuronDecomposer(layers=[1]), subject)
        if (subject.name != "attention-only-no-norm")
        else attribution(dla.HeadDecomposer(layers=[0]) | dla.SourceDecomposer(layers=[1]), subject)
    )
    parts = [attribution(d, subject) for d in (dla.HeadDecomposer(), dla.NeuronDecomposer(), dla.SourceDecomposer())]
    known = {label: row for part in reversed(parts) for label, row in zip(part.labels, part.values, strict=True)}
    for label, row in zip(mixed.labels, mixed.values, strict=True):
        assert_close(row, known[label], sum_size(mixed), subject.eps, label)
    assert "L0H0" in mixed.labels
    assert "L1H0" not in mixed.labels


def test_overlaps_are_named() -> None:
    with pytest.raises(ValueError, match=r"Both HeadDecomposer and SourceDecomposer split '0_attn_out'\. Leave one"):
        dla.Attributor(GPT2.model(), dla.HeadDecomposer() | dla.SourceDecomposer())
    d_model = LLAMA.model().cfg.d_model
    stream = dla.FeatureDecomposer({"blocks.0.hook_resid_post": Perfect(d_model)})
    with pytest.raises(ValueError, match=r"Both MixedDecomposer and FeatureDecomposer split '0_attn_out'"):
        dla.Attributor(LLAMA.model(), dla.HeadDecomposer() | dla.NeuronDecomposer(layers=[1]) | stream)
    mixed = dla.HeadDecomposer(layers=[1]) | dla.NeuronDecomposer(layers=[1]) | stream
    result = dla.Attributor(LLAMA.model(), mixed).attribute(some_tokens(3), dla.Logit(5))
    assert {"0_post_F0", "0_post_error", "L1H0", "L1N0"} <= set(result.labels)
    assert "embed" not in result.labels


def test_a_decomposer_that_does_not_say_whose_pieces_its_rows_are_cannot_be_mixed() -> None:
    class Nameless(dla.Decomposer):
        def writes(self, model: dla.ModelAdapter) -> list[dla.Write]:
            return [dla.SumOf(model.embeddings(), dla.Label("start")), *dla.ComponentDecomposer().writes(model)[2:]]

    with pytest.raises(ValueError, match=r"Nameless has a part 'start' that does not say what it is a piece of"):
        dla.Attributor(GPT2.model(), Nameless() | dla.NeuronDecomposer())
    assert "start" in attribution(Nameless()).labels


class _Forgetful(dla.Decomposer):
    """The heads of a sublayer, its bias forgotten."""

    def writes(self, model: dla.ModelAdapter) -> list[dla.Write]:
        return [write for write in dla.HeadDecomposer().writes(model) if write.labels[0].kind != "b_O"]


def test_pieces_that_miss_their_part_are_refused() -> None:
    whole = dla.Attributor(GPT2.model(), dla.ComponentDecomposer()).attribute(PROMPT, ASKED)
    with pytest.raises(dla.ReconstructionError, match=r"pieces that _Forgetful has of '1_attn_out' miss it by up to"):
        whole.refine("1_attn_out", by=_Forgetful())
    with pytest.raises(ValueError, match=r"NeuronDecomposer has no pieces of '1_attn_out': none of its labels has it"):
        whole.refine("1_attn_out", by=dla.NeuronDecomposer())
    with pytest.raises(ValueError, match=r"rows of LayerDecomposer do not add up, so they cannot be the pieces"):
        whole.refine("1_attn_out", by=dla.LayerDecomposer())
    with pytest.raises(ValueError, match=r"There is no part '1_attn'; the parts are .* Close to it: 1_attn_out"):
        whole.refine("1_attn", by=dla.HeadDecomposer())


@pytest.mark.parametrize("k", [1, 5, 1000])
def test_the_strongest_neurons_and_the_rest_are_all(k: int) -> None:
    everything, some = (attribution(dla.NeuronDecomposer(top_k=top_k)) for top_k in (None, k))
    rest = some.select(kind="other_neurons").values if k < 1000 else torch.zeros(())
    chosen = [part for part in some.parts if part.kind == "neuron" and part.layer == 1]
    assert len(chosen) == min(k, sum(p.kind == "neuron" and p.layer == 1 for p in everything.parts))
    known = dict(zip(everything.labels, everything.values, strict=True))
    for part in chosen:
        assert_close(some.select(str(part)).values[0], known[str(part)], sum_size(everything), GPT2.eps, str(part))
    missing = [p for p in everything.parts if p.kind == "neuron" and p.layer == 1 and str(p) not in set(some.labels)]
    if missing:
        expected = everything.select([str(p) for p in missing]).values.sum(0)
        assert_close(rest[1], expected, sum_size(everything), GPT2.eps, "1_other_neurons")


def test_one_prompt_shows_the_neurons_with_the_largest_values() -> None:
    attributor = dla.Attributor(GPT2.model(), dla.NeuronDecomposer(top_k=4))
    some = attributor.attribute(PROMPT, ASKED)
    every = dla.Attributor(GPT2.model(), dla.NeuronDecomposer()).attribute(PROMPT, ASKED)
    for layer in range(2):
        ranked = every.select(kind="neuron", layer=layer).top(4, by="abs")
        assert {str(p) for p in some.parts if (p.kind, p.layer) == ("neuron", layer)} == {name for name, _ in ranked}


def test_no_prompt_outweighs_another_where_the_strongest_are_chosen() -> None:
    """A neuron is chosen by its mean share of a prompt's sum, which does not grow with what is asked of the prompt."""
    attributor, tokens = dla.Attributor(GPT2.model(), dla.NeuronDecomposer(top_k=4)), some_tokens(1)
    evenly, loudly = (
        attributor.attribute(tokens, dla.LogitSet([[5], [7]], [[weight], [1.0]])).labels for weight in (1.0, 1000.0)
    )
    assert loudly == evenly
    assert attributor.attribute(tokens[:1], dla.Logit(5)).labels != evenly


@pytest.mark.parametrize("k", [0, -3])
def test_a_number_of_rows_that_is_none(k: int) -> None:
    with pytest.raises(ValueError, match=rf"top_k={k}: ask for at least one neuron, or pass None for all"):
        dla.NeuronDecomposer(top_k=k)


@pytest.mark.parametrize("k", [2.5, "3", True], ids=str)
def test_a_number_to_keep_that_is_none(k: Any) -> None:
    with pytest.raises(TypeError, match=r"top_k=.* is not a whole number\. Pass how many, such as 5"):
        dla.NeuronDecomposer(top_k=k)

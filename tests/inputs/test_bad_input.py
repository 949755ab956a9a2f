"""Bad input: a clear error with the offending value and the remedy, and never numbers."""

import copy
import inspect
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from mutants.altered import AlteredDecomposer, without
from subjects import GPT2, LLAMA, needs_hooked_transformer, some_tokens

import dla
from dla.inputs.prompts import read_prompts
from dla.testing import TinyModel
from dla.testing.models import PROMPT, VOCABULARY_SIZE, architecture

HEADS = dla.HeadDecomposer()
LOGIT = dla.Logit(9)


def as_users_have_it(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function without the type checks that the test-suite adds, which would be the first to object."""
    return inspect.unwrap(function)


def attribute(prompts: Any = None, direction: dla.Direction = LOGIT, model: Any = None, **options: Any) -> Any:
    prompts = some_tokens(14) if prompts is None else prompts
    return dla.Attributor(GPT2.model() if model is None else model, HEADS).attribute(prompts, direction, **options)


TOKENS: dict[str, tuple[Any, type[Exception], str]] = {
    "several tokens": (
        "Mary John",
        ValueError,
        r"'Mary John' is 2 tokens \('Mary', ' John'\); a logit belongs to one token\. Pass one of them, or its id\. "
        r"Many tokenizers want the leading space: ' Mary John'",
    ),
    "several tokens after a space": (
        " Mary John",
        ValueError,
        r"is 2 tokens .* For all of them, ask dla\.Contin.*\(' Mary John'\)\.$",
    ),
    "no token": ("", ValueError, r"'' is 0 tokens"),
    "unknown": (
        " Maryland",
        ValueError,
        r"' Maryland' is not in the model's vocabulary \(it becomes '<unk>'\)\. Pass a",
    ),
    "id too large": (
        VOCABULARY_SIZE,
        ValueError,
        rf"{VOCABULARY_SIZE} is outside .*\(0 to {VOCABULARY_SIZE - 1}\)\. Pass",
    ),
    "negative id": (-1, ValueError, r"Token id -1 is outside the vocabulary"),
    "an id of a tensor": (torch.tensor([3, 999]), ValueError, r"Token id 999 is outside the vocabulary"),
    "a negative id of a tensor": (torch.tensor([-7, 3]), ValueError, r"Token id -7 is outside the vocabulary"),
    "floats": (torch.tensor([1.0, 2.0]), TypeError, r"must be integers; the tensor has dtype torch\.float32"),
    "booleans": (torch.tensor([True, False]), TypeError, r"must be integers; the tensor has dtype torch\.bool"),
    "one a position as a vector": (
        torch.tensor([1, 2, 3, 4, 5, 6]),
        ValueError,
        r"has shape \[6\]\. For 2 prompts at 1 positions pass shape \[\] .*\[2\] \(one per prompt\) or \[2, 1\]",
    ),
    "three axes": (torch.ones(2, 1, 1, dtype=torch.long), ValueError, r"has shape \[2, 1, 1\]"),
    "as many as other prompts": ([3, 4, 5], ValueError, r"has shape \[3\]\. For 2 prompts"),
    "a list with an unknown token": (
        [" Mary", " Maryland"],
        ValueError,
        r"' Maryland' is not in the model's vocabulary",
    ),
}


@pytest.mark.parametrize("bad", TOKENS)
def test_tokens(bad: str) -> None:
    token, error, message = TOKENS[bad]
    for direction in (
        lambda: dla.Logit(token),
        lambda: dla.LogitDifference(token, 5),
        lambda: dla.LogitDifference(5, token),
        lambda: -dla.Logit(token),
    ):
        with pytest.raises(error, match=message):
            attribute(direction=direction())
    assert attribute(direction=dla.LogitDifference(" Mary", torch.tensor([5, 6]))).values.shape[1] == 2


def test_a_vector_of_tokens_is_one_a_prompt_even_where_there_are_as_many_positions() -> None:
    with pytest.raises(ValueError, match=r"has shape \[6\]"):
        attribute(direction=dla.Logit(torch.arange(6)), pos=None)
    per_prompt = attribute(some_tokens(14, 6, 6), dla.Logit(torch.arange(6)), pos=None)
    alone = attribute(some_tokens(14, 6, 6), dla.Logit(3), pos=None)
    torch.testing.assert_close(per_prompt.values[:, 3], alone.values[:, 3])


def test_answer_and_incorrect_of_different_shapes() -> None:
    difference = dla.LogitDifference(torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"shape \(2, 3\) and \(2, 1\); a logit difference needs one incorrect token"):
        attribute(direction=difference, pos=[0, 1, 2])


def test_empty_directions() -> None:
    with pytest.raises(ValueError, match=r"LogitSet wants a list of at least one token, not \[\]"):
        dla.LogitSet([])
    with pytest.raises(ValueError, match=r"LogitSet wants a list of at least one token, not ' Mary'"):
        dla.LogitSet(" Mary")
    with pytest.raises(ValueError, match=r"mean of no directions is not defined\. Pass at least one"):
        dla.mean([])


def test_residual_vectors_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"vector without its last axis has shape \[5\]\. For 2 prompts"):
        attribute(direction=dla.ResidualVector(torch.zeros(5, 32)))


def test_a_residual_vector_of_another_width() -> None:
    with pytest.raises(ValueError, match=r"\[31\].*32"):
        attribute(direction=dla.ResidualVector(torch.zeros(31)))


def test_no_token_follows_the_last() -> None:
    with pytest.raises(ValueError, match=r"last position of prompt 0: no token follows it.*pos=slice\(None, -1\)"):
        attribute(direction=dla.NextToken())


PROMPTS: dict[str, tuple[Any, type[Exception], str]] = {
    "empty text": ("", ValueError, r"The prompt is empty \(''\)\. Pass at least one token"),
    "empty text among others": ([PROMPT, ""], ValueError, r"The prompt is empty"),
    "empty list": ([], ValueError, r"The list of prompts is empty\. Pass at least one prompt"),
    "empty tensor": (
        torch.zeros(2, 0, dtype=torch.long),
        ValueError,
        r"empty, of shape \(2, 0\)\. Pass at least one token",
    ),
    "floats": (
        torch.zeros(2, 3),
        TypeError,
        r"must be integers; the tensor has dtype torch\.float32\. Pass `tokens\.long",
    ),
    "booleans": (torch.ones(2, 3, dtype=torch.bool), TypeError, r"dtype torch\.bool"),
    "three axes": (
        torch.ones(1, 2, 3, dtype=torch.long),
        ValueError,
        r"shape \(1, 2, 3\); pass \[pos\] or \[batch, pos\]",
    ),
    "no axis": (torch.tensor(3), ValueError, r"shape \(\); pass \[pos\] or \[batch, pos\]"),
    "id too large": (
        torch.tensor([[3, VOCABULARY_SIZE]]),
        ValueError,
        rf"id {VOCABULARY_SIZE} is outside the vocabulary",
    ),
    "negative id": (torch.tensor([[3, -2]]), ValueError, r"Token id -2 is outside the vocabulary \(0 to"),
}


@pytest.mark.parametrize("bad", PROMPTS)
def test_prompts(bad: str) -> None:
    prompts, error, message = PROMPTS[bad]
    with pytest.raises(error, match=message):
        as_users_have_it(read_prompts)(prompts, dla.adapt(GPT2.model()).vocabulary)


def test_prompts_longer_than_the_context() -> None:
    with pytest.raises(ValueError, match=r"longest prompt has 65 tokens and the model's context is 64\. Shorten it"):
        attribute(torch.full((1, 65), 5))


def test_neither_prompts_nor_a_cache() -> None:
    with pytest.raises(ValueError, match=r"Neither prompts nor a cache was given\. Pass"):
        dla.Attributor(GPT2.model(), HEADS).attribute(None, LOGIT)


MASKS: dict[str, tuple[Any, Any, str]] = {
    "another shape": (some_tokens(14), torch.ones(2, 5), r"attention_mask has shape \(2, 5\), the tokens \(2, 6\)"),
    "nothing real": (some_tokens(14), torch.tensor([[1] * 6, [0] * 6]), r"Prompt 1 has no real token"),
    "with text": ([PROMPT], torch.ones(1, 15), r"with prompts given as text, leave it out"),
}


@pytest.mark.parametrize("bad", MASKS)
def test_masks(bad: str) -> None:
    prompts, mask, message = MASKS[bad]
    with pytest.raises(ValueError, match=message):
        attribute(prompts, attention_mask=mask)


def test_padding_that_may_be_text_is_not_guessed_at() -> None:
    model = LLAMA.fresh()
    model.tokenizer.pad_token = model.tokenizer.eos_token
    tokens = some_tokens(15)
    tokens[1, -1] = model.tokenizer.eos_token_id
    with pytest.raises(ValueError, match=r"Row 1 .*'</s>'.* both for padding and for text\. Pass .* attention_mask"):
        attribute(tokens, model=model)


@pytest.mark.parametrize(
    ("pos", "message"),
    [
        (6, r"pos=6 is out of range for a prompt of 6 tokens \(from -6 to 5\)"),
        (-7, r"pos=-7 is out of range for a prompt of 6 tokens"),
        ([0, 9], r"pos=9 is out of range"),
        ([], r"pos=\[\] selects no position"),
        (slice(4, 2), r"pos=slice\(4, 2, None\) selects no position of prompts with \[6, 6\] tokens"),
    ],
    ids=str,
)
def test_positions(pos: int | Sequence[int] | slice, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attribute(pos=pos)


def test_a_position_that_only_the_longer_prompt_has() -> None:
    with pytest.raises(ValueError, match=r"pos=10 is out of range for a prompt of 3 tokens"):
        attribute([PROMPT, "When Mary"], pos=10)


def test_a_cache_of_another_model() -> None:
    _, cache = LLAMA.model().run_with_cache(some_tokens(14))
    with pytest.raises(ValueError, match=r"cache comes from another model\. Pass one that this model made"):
        attribute(cache=cache)


def test_a_cache_that_lacks_what_is_needed() -> None:
    for kept in ("attn_out", "ln_final", "unembed"):
        _, cache = GPT2.model().run_with_cache(some_tokens(14), names_filter=lambda name, k=kept: k in name)
        with pytest.raises(ValueError, match=r"cache lacks '[\w.]+', which this attribution reads\. .*names_filter"):
            attribute(cache=cache)


def test_a_cache_of_other_prompts() -> None:
    _, cache = GPT2.model().run_with_cache(some_tokens(14, 2, 6))
    for tokens in (some_tokens(14, 3, 6), some_tokens(14, 2, 5)):
        with pytest.raises(ValueError, match=r"cache holds 2 prompts of 6 positions, the prompts given are"):
            attribute(tokens, cache=cache)


def test_a_cache_of_left_padded_prompts() -> None:
    model = GPT2.fresh()
    model.tokenizer.padding_side = "left"
    prompts = [PROMPT, "When Mary"]
    _, cache = model.run_with_cache(prompts)
    with pytest.raises(ValueError, match=r"pads on the left, so positions in the cache.*padding_side = 'right'"):
        attribute(prompts, model=model, cache=cache)


@pytest.mark.parametrize(
    "subject", [GPT2, pytest.param(TinyModel("ln", "hooked"), marks=needs_hooked_transformer)], ids=str
)
def test_training_mode(subject: TinyModel) -> None:
    model, message = subject.fresh(), r"in training mode, in which dropout .* Call model\.eval\(\) first"
    attributor = dla.Attributor(model, HEADS)
    model.train()
    with pytest.raises(ValueError, match=message):
        attributor.attribute(some_tokens(14), LOGIT)
    with pytest.raises(ValueError, match=message):
        dla.Attributor(model, HEADS)
    with pytest.raises(ValueError, match=message):
        dla.Attributor(subject.fresh().train(), HEADS)


@pytest.mark.parametrize("model", [torch.nn.Linear(2, 2), None, "gpt2"], ids=lambda model: type(model).__name__)
def test_a_model_that_is_neither_class(model: Any) -> None:
    with pytest.raises(dla.UnsupportedModelError, match=rf"{type(model).__name__} is neither a HookedTransformer nor"):
        dla.Attributor(model, HEADS)


def test_a_hugging_face_model_that_was_not_wrapped() -> None:
    with pytest.raises(dla.UnsupportedModelError, match=r"GPT2LMHeadModel is neither .*boot_transformers"):
        dla.adapt(architecture("gpt2").hugging_face())


@pytest.mark.parametrize("decomposer", [dla.HeadDecomposer, "head", None], ids=str)
def test_what_is_not_a_decomposer(decomposer: Any) -> None:
    with pytest.raises(TypeError, match=r"is not a Decomposer\. Pass an instance, such as HeadDecomposer\(\)"):
        as_users_have_it(dla.Attributor.__init__)(object.__new__(dla.Attributor), GPT2.model(), decomposer)


def test_a_class_in_the_place_of_a_decomposer() -> None:
    kind: Any = dla.SourceDecomposer
    made = object.__new__(dla.GroupDecomposer)
    for make in (
        lambda: as_users_have_it(dla.Attribution.refine)(attribute(), "L1H1", by=kind),
        lambda: as_users_have_it(dla.Decomposer.__or__)(HEADS, kind),
        lambda: as_users_have_it(dla.Decomposer.__ror__)(HEADS, kind),
        lambda: kind | HEADS,
        lambda: as_users_have_it(dla.GroupDecomposer.__init__)(made, kind, {"a": "L1H1"}),
    ):
        with pytest.raises(TypeError, match=r"^the class SourceDecomposer is not a Decomposer\. Pass an instance"):
            make()


def test_an_attributor_is_neither_pickled_nor_copied() -> None:
    attributor = dla.Attributor(GPT2.model(), HEADS)
    for make in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"belongs to a model in this process, .* Pickle its decomposer, and make"):
            make(attributor)


def test_a_check_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r"check='ignore'; pass 'raise' or 'warn'"):
        as_users_have_it(dla.Attributor.__init__)(object.__new__(dla.Attributor), GPT2.model(), HEADS, check="ignore")
    with pytest.raises(ValueError, match=r"unembed='some'; pass 'all' or 'sample'"):
        as_users_have_it(dla.Attributor.__init__)(object.__new__(dla.Attributor), GPT2.model(), HEADS, unembed="some")


def test_a_decomposer_that_forgets_a_part_names_itself_the_gap_and_the_worst_place() -> None:
    attributor = dla.Attributor(GPT2.model(), AlteredDecomposer(HEADS, without("b_O", 1)))
    with pytest.raises(dla.ReconstructionError) as caught:
        attributor.attribute(some_tokens(14), LOGIT, pos=None)
    lenient = dla.Attributor(GPT2.model(), AlteredDecomposer(HEADS, without("b_O", 1)), check="warn")
    with pytest.warns(dla.ReconstructionWarning, match="parts of AlteredDecomposer miss"):
        result = lenient.attribute(some_tokens(14), LOGIT, pos=None)
    excess = result.gap.abs() / result.tolerance
    prompt, position = divmod(int(excess.argmax()), 6)
    for words in (
        "AlteredDecomposer",
        f"{float(result.gap[prompt, position].abs()):.1e}",
        f"(allowed: {float(result.tolerance[prompt, position]):.1e})",
        f"worst at prompt {prompt}, position {position}",
        "A bias that the model adds is the part most often forgotten",
    ):
        assert words in str(caught.value)


def test_parts_that_are_not_a_number_are_never_passed_off_as_a_sum() -> None:
    model = GPT2.fresh()
    attributor = dla.Attributor(model, HEADS)
    with torch.no_grad():
        model.blocks[1].mlp.out.original_component.bias[3] = torch.nan
    with pytest.raises(dla.DLAError):
        attributor.attribute(some_tokens(14), LOGIT)


@pytest.mark.parametrize(
    ("writes", "error", "message"),
    [
        (lambda plan, _: [*plan, plan[0]], ValueError, r"names two parts 'embed'\. Give every part a label of its own"),
        (lambda plan, _: [], ValueError, r"AlteredDecomposer names no part"),
        (
            lambda plan, _: ["embed"],
            TypeError,
            r"AlteredDecomposer\.writes returned 'embed'; every item must be",
        ),
    ],
    ids=["twice", "none", "no-write"],
)
def test_plans_that_are_none(writes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        dla.Attributor(GPT2.model(), AlteredDecomposer(dla.ComponentDecomposer(), writes))


def test_text_for_a_model_without_a_tokenizer() -> None:
    model = architecture("gpt2").bridge(tokenizer=False)
    with pytest.raises(ValueError, match=r"The prompt 'Mary' is text and the model has no tokenizer\. Pass a tensor"):
        attribute("Mary", model=model)
    with pytest.raises(ValueError, match=r"The token ' Mary' is text and the model has no tokenizer\. Pass its id"):
        attribute(direction=dla.Logit(" Mary"), model=model)
    assert attribute(model=model).tokens[0][0].isdigit()


def test_selections_that_are_empty() -> None:
    result = attribute()
    with pytest.raises(ValueError, match=r"There is no part 'L9H9'; the parts are embed, pos_embed, L0H0, L0H1,"):
        result.select("L9H9")
    with pytest.raises(ValueError, match=r"No part matches kind='neuron'; the kinds here are b_O, embed, head"):
        result.select(kind="neuron")
    with pytest.raises(ValueError, match=r"No part matches kind='head' and layer=5 and the function `where`; the"):
        result.select(kind="head", layer=5, where=lambda label: True)
    with pytest.raises(ValueError, match=r"No part matches the function `where`"):
        result.select(where=lambda label: False)
    with pytest.raises(ValueError, match=r"label=\[\] names no part\. Pass at least one label, or leave it out"):
        result.select([])


SELECTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "a truth for a layer": ({"layer": True}, r"layer=True is not a layer\. Pass its number, such as 1; for several"),
    "a text for a layer": ({"layer": "1"}, r"layer='1' is not a layer"),
    "layers": ({"layer": [0, 1]}, r"layer=\[0, 1\] is not a layer\. .* for several use where="),
    "kinds": ({"kind": ["head", "b_O"]}, r"kind=\['head', 'b_O'\] is not a kind\. Pass one, such as 'head'"),
    "no function": ({"where": "L1H1"}, r"where='L1H1' is not a function\. Pass one that says of a label"),
    "a number for a label": ({"label": 3}, r"^3 is not a label\. Pass one, as written in `labels`"),
    "a number among labels": ({"label": ["L1H1", 3]}, r"^3 is not a label"),
}


@pytest.mark.parametrize("case", SELECTIONS)
def test_selections_that_cannot_be_read(case: str) -> None:
    asked, message = SELECTIONS[case]
    with pytest.raises(TypeError, match=message):
        as_users_have_it(dla.Attribution.select)(attribute(), **asked)


def test_selections_that_are_clear() -> None:
    result = attribute()
    assert result.select(layer=torch.tensor(1)).labels == result.select(layer=1).labels
    assert result.select({"L1H1", "L0H0"}).labels == ["L0H0", "L1H1"]
    sources = result.refine("L1H1", by=dla.SourceDecomposer())
    assert sources.select("L1H1 <- 2").labels == [str(sources.part("L1H1 <- 2").label)]


def test_a_row_of_parts_is_a_label_as_its_text_is() -> None:
    result = attribute()
    label = next(part for part in result.parts if str(part) == "L1H1")
    assert result.part(label).label == label
    assert result.select(label).labels == result.select([label]).labels == ["L1H1"]
    finer = result.refine(label, by=dla.SourceDecomposer())
    assert finer.labels == result.refine("L1H1", by=dla.SourceDecomposer()).labels
    traced, by_text = (result.trace(one, by=dla.ComponentDecomposer()) for one in (label, "L1H1"))
    torch.testing.assert_close(traced.values, by_text.values, rtol=0, atol=0)
    assert result.effects(label).labels == result.effects([label]).labels == ["L1H1"]


def test_one_part_is_wanted() -> None:
    for ask in (dla.Attribution.part, lambda r, label: r.refine(label, by=dla.SourceDecomposer())):
        with pytest.raises(TypeError, match=r"\['L1H1'\] is not a label\. Pass one, .* 'L1H1'; select takes several"):
            as_users_have_it(ask)(attribute(), ["L1H1"])


LAYERED = (dla.HeadDecomposer, dla.SourceDecomposer, dla.NeuronDecomposer, dla.ExpertDecomposer)


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        (1, TypeError, r"layers=1 is not a list of layers\. Pass layers=\[1\]\."),
        ("1", TypeError, r"layers='1' is not a list of layers\. Pass their numbers, such as \[0, 1\], or None for all"),
        (True, TypeError, r"layers=True is not a list of layers\. Pass their numbers"),
        ([1, True], TypeError, r"layers=\[1, True\]: True is not a layer\. Pass whole numbers"),
        ([1.0], TypeError, r"layers=\[1\.0\]: 1\.0 is not a layer"),
        ([], ValueError, r"layers=\[\] names no layer to split\. Pass at least one, or None for all"),
    ],
    ids=str,
)
def test_layers(layers: Any, error: type[Exception], message: str) -> None:
    for decomposer in LAYERED:
        with pytest.raises(error, match=message):
            decomposer(layers=layers)


def test_layers_that_are_clear() -> None:
    expected = attribute_by(dla.HeadDecomposer(layers=[1])).labels
    for layers in (range(1, 2), {1}, torch.tensor([1]), [torch.tensor(1)]):
        assert attribute_by(dla.HeadDecomposer(layers=layers)).labels == expected
    assert "L1H1" in expected
    assert "L0H1" not in expected


def attribute_by(decomposer: dla.Decomposer) -> dla.Attribution:
    return dla.Attributor(GPT2.model(), decomposer).attribute(some_tokens(14), LOGIT)

"""Prompts in every form that is clear: the model's own logit. In a form that could be read in two ways: an error."""

import inspect
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from subjects import GPT2, LLAMA, needs_hooked_transformer, some_tokens
from torch import Tensor

import dla
import dla.demo
from dla.inputs.prompts import read_prompts
from dla.testing import TinyModel

PROMPT = "When Mary and John went to the store , John gave a drink to"
OTHER = "After Rose and Paul left the park , Paul decided to give a book to"
DIFFERENCE = dla.LogitDifference(" Mary", " John")
DEMO = dla.demo.load_small("raw")
IDS: Tensor = DEMO.to_tokens(PROMPT)
PAD = DEMO.tokenizer.pad_token_id
NAMES = [DEMO.to_single_token(name) for name in (" Mary", " John")]


def attribute(prompts: Any, direction: Any = DIFFERENCE, model: Any = DEMO, **options: Any) -> dla.Attribution:
    return dla.Attributor(model, dla.HeadDecomposer()).attribute(prompts, direction, **options)


def own(ids: Tensor, model: Any = DEMO) -> float:
    """The difference in the model's own logits after unpadded ids."""
    with torch.no_grad():
        logits = model(ids.reshape(1, -1))[0, -1]
    return float(logits[NAMES[0]] - logits[NAMES[1]])


def padded(left: int, right: int, ids: Tensor = IDS) -> Tensor:
    return torch.nn.functional.pad(ids, (left, right), value=PAD)


def assert_is(result: dla.Attribution, *expected: float) -> None:
    assert result.logit.flatten().tolist() == pytest.approx(list(expected), abs=1e-4)


def test_the_value_of_the_examples() -> None:
    assert own(IDS) == pytest.approx(7.6629, abs=1e-4)
    assert_is(attribute(PROMPT), own(IDS))


PADDED = {
    "one on the left": padded(1, 0),
    "several on the left": padded(3, 0),
    "one on the right": padded(0, 1),
    "both": padded(2, 5),
    "without a batch axis": padded(1, 0)[0],
    "every row": torch.cat([padded(1, 1), padded(2, 0), padded(0, 2)]),
    "one of two rows": torch.cat([padded(0, 1), padded(0, 0, DEMO.to_tokens(OTHER))]),
}


@pytest.mark.parametrize("case", PADDED)
def test_a_padding_token_that_is_never_text_is_padding(case: str) -> None:
    ids = PADDED[case]
    rows = [row[row != PAD] for row in torch.atleast_2d(ids)]
    for given in (ids, ids.tolist(), ids.numpy(), ids.int()):
        assert_is(attribute(given), *(own(row) for row in rows))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_padding_in_half_precision(dtype: torch.dtype) -> None:
    model = LLAMA.fresh()
    model.to(dtype)
    ids = some_tokens(3, 1, 5)
    alone = attribute(ids, dla.Logit(9), model)
    together = attribute(torch.nn.functional.pad(ids, (1, 1), value=2), dla.Logit(9), model)
    torch.testing.assert_close(together.logit, alone.logit, rtol=0, atol=0)


@needs_hooked_transformer
def test_padding_of_a_hooked_transformer() -> None:
    model, ids = TinyModel("ln", "hooked").model(), some_tokens(3, 1, 5)
    alone = attribute(ids, dla.Logit(9), model)
    for ends in ((1, 0), (0, 2)):
        assert_is(attribute(torch.nn.functional.pad(ids, ends, value=2), dla.Logit(9), model), float(alone.logit))


def padding_with(token: str, model: Any = None) -> Any:
    """A model whose tokenizer pads with a token that is text as well."""
    model = LLAMA.fresh() if model is None else model
    model.tokenizer.pad_token = token
    return model


BOS, EOS = 0, 1
WORDS = some_tokens(4, 2, 4).tolist()
DOUBTFUL = {
    "behind": ("</s>", [[*WORDS[0], EOS], [*WORDS[1], 9]]),
    "behind in every row": ("</s>", [[*WORDS[0], EOS], [*WORDS[1], EOS]]),
    "behind in the only row": ("</s>", [[*WORDS[0], EOS]]),
    "in front": ("</s>", [[EOS, *WORDS[0]]]),
    "a word": (LLAMA.model().tokenizer.decode([9]), [[*WORDS[0], 9]]),
    "a word in front": (LLAMA.model().tokenizer.decode([9]), [[9, *WORDS[0]]]),
    "BOS twice": ("<s>", [[BOS, BOS, *WORDS[0]]]),
    "BOS behind": ("<s>", [[BOS, *WORDS[0], BOS]]),
    "BOS in front of some rows": ("<s>", [[BOS, *WORDS[0]], [9, *WORDS[1]]]),
}


@pytest.mark.parametrize("case", DOUBTFUL)
def test_padding_that_may_be_text_is_refused_in_any_row(case: str) -> None:
    token, rows = DOUBTFUL[case]
    model = padding_with(token)
    with pytest.raises(ValueError, match=rf"Row 0 begins or ends in the token '{token}'.*or an attention_mask"):
        attribute(rows, dla.Logit(9), model)
    mask = torch.ones(len(rows), len(rows[0]))
    if case == "BOS twice":
        with pytest.warns(dla.PromptWarning, match=r"ids of prompt 0 begin with '<s>' twice, and the model reads both"):
            attribute(rows, dla.Logit(9), model, attention_mask=mask)
        return
    torch.testing.assert_close(
        attribute(rows, dla.Logit(9), model, attention_mask=mask).logit, LLAMA.logits(torch.tensor(rows))[:, -1, 9]
    )


@pytest.mark.parametrize(("token", "first"), [("<s>", [BOS]), ("<s>", []), ("</s>", [BOS]), (None, [BOS])])
def test_one_bos_in_front_of_every_prompt_is_text(token: Any, first: list[int]) -> None:
    rows = torch.tensor([[*first, *words] for words in WORDS])
    found = attribute(rows, dla.Logit(9), padding_with(token)).logit
    torch.testing.assert_close(found, LLAMA.logits(rows)[:, -1, 9])


def test_a_tokenizer_that_pads_otherwise_meanwhile() -> None:
    model = LLAMA.fresh()
    attributor = dla.Attributor(model, dla.HeadDecomposer())
    padding_with("</s>", model)
    with pytest.raises(ValueError, match=r"Row 0 begins or ends in the token '</s>'"):
        attributor.attribute([[*WORDS[0], EOS]], dla.Logit(9))


def test_a_padding_token_that_the_model_cannot_embed() -> None:
    model = LLAMA.fresh()
    model.tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    outside = model.tokenizer.pad_token_id
    rows = torch.tensor([WORDS[0], [*WORDS[1][:3], outside]])
    expected = [LLAMA.logits(torch.tensor([row]))[0, -1, 9] for row in (WORDS[0], WORDS[1][:3])]
    mask = torch.tensor([[1] * 4, [1, 1, 1, 0]])
    for options in ({}, {"attention_mask": mask}):
        torch.testing.assert_close(attribute(rows, dla.Logit(9), model, **options).logit, torch.stack(expected))


def test_a_model_without_a_tokenizer_has_no_padding() -> None:
    model = GPT2.fresh()
    model.tokenizer = None
    ids = torch.tensor([[2, 2, 9, 12, 2]])
    torch.testing.assert_close(attribute(ids, dla.Logit(9), model).logit, GPT2.logits(ids)[:, -1, 9])


def marks(*hidden: int, value: Any = 1) -> list[Any]:
    return [0 if place in hidden else value for place in range(15)]


MASKS = {
    "a hole": (marks(4), r"attention_mask has a hole: it masks position 4 of prompt 0, between real tokens\. Only"),
    "holes": (marks(0, 3, 5), r"a hole: it masks position 3 of prompt 0"),
    "NaN": ([float("nan")] * 15, r"attention_mask holds nan for prompt 0\. Pass 1 for real tokens and 0 for padding"),
    "half": (marks(value=0.5), r"attention_mask holds 0\.5 for prompt 0"),
    "two": (marks(value=2), r"attention_mask holds 2 for prompt 0"),
    "additive": (marks(value=-1e4), r"attention_mask holds -10000\.0"),
    "nothing real": ([0] * 15, r"Prompt 0 has no real token"),
    "another length": ([1] * 14, r"attention_mask has shape \(1, 14\), the tokens \(1, 15\)"),
    "unequal rows": ([[1] * 15, [1]], r"attention_mask has shape of 2 rows of \[15, 1\], the tokens \(1, 15\)"),
}


@pytest.mark.parametrize("case", MASKS)
def test_masks_that_cannot_be_kept_to(case: str) -> None:
    mask, message = MASKS[case]
    for given in (mask, [mask] if not isinstance(mask[0], list) else mask):
        with pytest.raises(ValueError, match=message):
            attribute(IDS, attention_mask=given)
    with pytest.raises(
        TypeError, match=r"attention_mask is 1\. Pass 1 for real tokens and 0 for padding, one for each"
    ):
        attribute(IDS, attention_mask=1)


@pytest.mark.parametrize(
    "kind", [torch.tensor, np.array, list, lambda m: torch.tensor(m).bool(), lambda m: 1.0 * np.array(m)]
)
def test_masks_of_every_kind(kind: Any) -> None:
    assert_is(attribute(padded(2, 1), attention_mask=kind([0, 0, *[1] * 15, 0])), own(IDS))
    assert_is(attribute(padded(2, 1), attention_mask=kind([0] * 3 + [1] * 14 + [0])), own(IDS[:, 1:]))


def test_a_hole_of_padding_is_refused() -> None:
    ids = torch.cat([IDS[:, :3], torch.tensor([[PAD]]), IDS[:, 3:]], 1)
    with pytest.raises(ValueError, match=r"Prompt 0 has the padding token '<pad>' at position 3, between real tokens"):
        attribute(ids)
    assert_is(attribute(ids, attention_mask=torch.ones_like(ids)), own(ids))


def test_what_a_tokenizer_returns() -> None:
    values = own(IDS), own(DEMO.to_tokens(OTHER))
    for side in ("right", "left"):
        encoding = DEMO.tokenizer([PROMPT, OTHER], padding=True, return_tensors="pt", padding_side=side)
        assert_is(attribute(encoding), *values)
        assert_is(attribute(dict(encoding)), *values)
        assert_is(attribute(encoding["input_ids"], attention_mask=encoding["attention_mask"]), *values)
    assert_is(attribute(DEMO.tokenizer([PROMPT, OTHER])), *values)
    assert_is(attribute(DEMO.tokenizer([PROMPT, OTHER], padding=True, return_tensors="np")), *values)
    assert_is(attribute(DEMO.tokenizer(PROMPT)), values[0])
    with pytest.raises(ValueError, match=r"hold an attention_mask, and another is given besides\. Leave one"):
        attribute(encoding, attention_mask=encoding["attention_mask"])
    with pytest.raises(ValueError, match=r"hold 'position_ids', which is not read here"):
        attribute({"input_ids": IDS, "position_ids": torch.arange(15)[None]})


TEXTS = {
    "a list": [PROMPT, OTHER],
    "a tuple": (PROMPT, OTHER),
    "a column": pd.Series([PROMPT, OTHER], index=[7, 3]),
    "an array": np.array([PROMPT, OTHER]),
    "objects": np.array([PROMPT, OTHER], dtype=object),
    "ids of two lengths": [IDS[0].tolist(), DEMO.to_tokens(OTHER)[0].tolist()],
    "tensors of two lengths": [IDS[0], DEMO.to_tokens(OTHER)[0]],
    "a column of lists": pd.Series([IDS[0].tolist(), DEMO.to_tokens(OTHER)[0].tolist()]),
    "a nested tensor": torch.nested.nested_tensor([IDS[0], DEMO.to_tokens(OTHER)[0]], layout=torch.jagged),
}


@pytest.mark.parametrize("case", TEXTS)
def test_two_prompts_in_every_form(case: str) -> None:
    assert_is(attribute(TEXTS[case]), own(IDS), own(DEMO.to_tokens(OTHER)))


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, torch.tensor], ids=lambda kind: kind.__name__)
def test_one_prompt_in_every_form(kind: Any) -> None:
    assert_is(attribute(kind(IDS[0].tolist())), own(IDS))
    assert_is(attribute(np.str_(PROMPT)), own(IDS))


NO_PROMPTS: dict[str, tuple[Any, str]] = {
    "a number": (7, r"The prompts are 7\. Pass a string, several in a list, or token ids\."),
    "bytes": (b"Mary", r"The prompts are b'Mary'\."),
    "a set": ({3}, r"The prompts are \{3\}\."),
    "a class": (dla.Logit, r"The prompts are the class Logit\."),
    "a model": (DEMO, r"The prompts are a TransformerBridge\. Pass a string"),
    "a frame": (pd.DataFrame({"a": [PROMPT]}), r"The prompts are a DataFrame\."),
    "a dictionary": ({"text": PROMPT}, r"a dict that holds 'text', and no 'input_ids'\. Pass what the tokenizer"),
    "floats": ([1.5], r"Prompt 0 is 1\.5\. Pass strings, or token ids: a list of them, a list of lists, or one tensor"),
    "a float among ids": ([[3, 4], [5, 1.5]], r"Prompt 1 holds 1\.5 among its token ids, which are whole numbers"),
    "a truth among ids": ([[3, True]], r"Prompt 0 holds True among its token ids"),
    "an array of floats": (np.ones(3), r"Token ids must be integers; the array has dtype float64"),
    "text among ids": ([3, PROMPT], r"Prompt 0 is 3, next to others that are text"),
    "a gap in a column": (pd.Series([PROMPT, None]), r"Prompt 1 is (None|nan), next to others that are text"),
}


@pytest.mark.parametrize("case", NO_PROMPTS)
def test_what_is_no_prompt_is_told_in_a_sentence(case: str) -> None:
    prompts, message = NO_PROMPTS[case]
    with pytest.raises(TypeError, match=message) as caught:
        attribute(prompts)
    assert len(str(caught.value)) < 200
    with pytest.raises(TypeError, match=message):
        dla.Attributor(DEMO, dla.HeadDecomposer()).explain_gap(prompts, DIFFERENCE)


def test_a_list_of_ids_outside_the_vocabulary() -> None:
    for ids in ([[3, 999]], np.array([3, -1])):
        with pytest.raises(ValueError, match=r"Token id (999|-1) is outside the vocabulary \(0 to 120\)"):
            attribute(ids)
    with pytest.raises(ValueError, match=r"Prompt 1 has no real token"):
        attribute([[3], []])


def test_text_that_begins_with_bos_gets_no_second_one() -> None:
    for text in ("<s> " + PROMPT, "<s>" + PROMPT):
        for options in ({}, {"prepend_bos": False}):
            result = attribute(text, **options)
            assert result.tokens[0][:2] == ["<s>", "When"]
            assert_is(result, own(IDS))
    assert_is(attribute(["<s> " + PROMPT, OTHER]), own(IDS), own(DEMO.to_tokens(OTHER)))
    assert attribute(PROMPT, prepend_bos=False).tokens[0][0] == "When"


def test_a_second_bos_that_was_asked_for_is_warned_about() -> None:
    with pytest.warns(dla.PromptWarning, match=r"begins with '<s>', and prepend_bos=True puts a second one in front"):
        result = attribute("<s> " + PROMPT, prepend_bos=True)
    assert_is(result, own(torch.cat([IDS[:, :1], IDS], 1)))
    assert_is(attribute(PROMPT, prepend_bos=True), own(IDS))
    with pytest.warns(dla.PromptWarning, match=r"ids of prompt 1 begin with '<s>' twice.*add_special_tokens=False"):
        attribute(DEMO.tokenizer([PROMPT, "<s> " + PROMPT]))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", ["<pad>", "<s>"])
def test_bos_where_it_pads_as_well(side: str, pad: str) -> None:
    model = padding_with(pad)
    model.tokenizer.padding_side = side
    for text, bos in (("Mary gave", None), ("<s>Mary gave", None), ("<s>Mary gave", False)):
        assert attribute(text, dla.Logit(9), model, prepend_bos=bos).tokens == [["<s>", "Mary", " gave"]]
    assert attribute("Mary gave", dla.Logit(9), model, prepend_bos=False).tokens == [["Mary", " gave"]]


def test_prepend_bos_is_for_text() -> None:
    with pytest.raises(ValueError, match=r"prepend_bos=True is for text; ids are taken as they are\. Put the BOS"):
        attribute(IDS, prepend_bos=True)
    with pytest.raises(TypeError, match=r"prepend_bos='yes'; pass True, False or None"):
        inspect.unwrap(read_prompts)(PROMPT, dla.adapt(DEMO).vocabulary, None, "yes")


def test_words_that_the_model_does_not_know_are_named_once() -> None:
    with pytest.warns(dla.PromptWarning) as caught:
        attribute([PROMPT, "When Mary and Zebedee saw a xylophone"])
    (warning,) = caught
    assert str(warning.message) == (
        "The model does not know 'Zebedee', 'saw', 'xylophone' (prompt 1, position 4, 5, 7): it reads '<unk>' there."
    )
    assert warning.filename == __file__
    attribute("When <unk> and Mary")  # somebody wrote the token itself


POSITIONS: list[tuple[Any, Any]] = [
    (np.int64(3), 3),
    (torch.tensor(3), 3),
    (np.array(3), 3),
    (torch.tensor([[1, -2]]), [1, -2]),
    (np.array([[1, -2]]), [1, -2]),
    (torch.tensor([-2]), -2),
    (np.array([3]), 3),
    ((1, -2), [1, -2]),
    (range(1, 3), [1, 2]),
    (pd.Series([4, 1], index=[9, 8]), [4, 1]),
    (slice(np.int64(1), torch.tensor(4)), slice(1, 4)),
]


@pytest.mark.parametrize(("pos", "plain"), POSITIONS, ids=repr)
def test_positions_of_every_kind(pos: Any, plain: Any) -> None:
    found, expected = attribute(PROMPT, pos=pos), attribute(PROMPT, pos=plain)
    assert torch.equal(found.positions, expected.positions)
    assert torch.equal(found.values, expected.values)


@pytest.mark.parametrize(
    "pos",
    [True, 2.0, "3", b"1", [True, False], torch.tensor([True]), [[1, 2]], {1}, [1.5], dla.Logit, [None]],
    ids=repr,
)
def test_what_is_no_position(pos: Any) -> None:
    with pytest.raises(
        TypeError, match=r"pos: .* is not a position\. Pass an int, several, a slice, or None for all\.$"
    ):
        attribute(PROMPT, pos=pos)


def test_slices_that_are_none() -> None:
    with pytest.raises(TypeError, match=r"pos=slice\(1\.0, 2, None\): the ends and the step of a slice are whole"):
        attribute(PROMPT, pos=slice(1.0, 2))
    with pytest.raises(ValueError, match=r"the step of a slice is not zero"):
        attribute(PROMPT, pos=slice(None, None, 0))

"""Chats are written out by the tokenizer's own template; what is no chat is explained."""

from typing import Any

import pytest
import torch
from subjects import LLAMA

import dla
from dla.testing import assert_attributions_equal

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    " {{ m.content }} </s> {% endfor %}{% if add_generation_prompt %}{{ messages[0].content }}{% endif %}"
)


def model(template: str | None = TEMPLATE) -> Any:
    made = LLAMA.fresh()
    made.tokenizer.chat_template = template
    return made


def words(made: Any, *ids: int) -> str:
    return " ".join(made.tokenizer.decode([one]).strip() for one in ids)


def attribute(prompts: Any, made: Any, **options: Any) -> dla.Attribution:
    return dla.Attributor(made, dla.HeadDecomposer()).attribute(prompts, dla.Logit(9), **options)


def test_a_chat_has_the_ids_of_the_template_and_one_bos() -> None:
    made = model()
    chat = [{"role": "user", "content": words(made, 5, 6)}, {"role": "assistant", "content": words(made, 7)}]
    result = attribute(chat, made)
    written = made.tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True)
    expected = torch.tensor([written["input_ids"]])
    assert expected[0, :2].tolist() == [0, 56]
    assert result.rerun is not None
    assert torch.equal(result.rerun.query.prompts.tokens, expected)
    assert_attributions_equal(result, attribute(expected, made))
    several = attribute([chat, chat[:1]], made)
    assert several.tokens[0] == result.tokens[0]
    continued = dla.Attributor(made, dla.HeadDecomposer()).attribute(chat, dla.Continuation(" " + words(made, 8)))
    assert continued.tokens[0][:-1] == result.tokens[0]


WRONG: dict[str, tuple[Any, str]] = {
    "no content": (
        [{"role": "user"}],
        r"^The chat has the message \{'role': 'user'\} at place 0\. A message is a dict",
    ),
    "parts": ([{"role": "user", "content": [{"type": "text"}]}], r"at place 0\. A message is a dict with two texts"),
    "a text among messages": ([{"role": "user", "content": "a"}, "b"], r"^The chat has the message 'b' at place 1\."),
    "a text among chats": (
        [[{"role": "user", "content": "a"}], "b"],
        r"^Chat 1 is 'b'\. Pass a list of messages, such",
    ),
    "an empty chat": ([[{"role": "user", "content": "a"}], []], r"^Chat 1 is \[\]\. Pass a list of messages, such as"),
    "one message": ({"role": "user", "content": "a"}, r"^The prompt is one message of a chat\. Pass a chat as a list"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_chat_is_explained(case: str) -> None:
    chat, message = WRONG[case]
    with pytest.raises(TypeError, match=message):
        attribute(chat, model())


def test_a_template_that_is_missing_or_refuses_is_explained() -> None:
    with pytest.raises(
        ValueError, match=r"^The chat is a list of messages, and the model's tokenizer has no chat temp"
    ):
        attribute([{"role": "user", "content": "a"}], model(None))
    with pytest.raises(
        ValueError, match=r"^The tokenizer's chat template refuses the messages: no system\. Pass roles"
    ):
        attribute([{"role": "system", "content": "a"}], model())

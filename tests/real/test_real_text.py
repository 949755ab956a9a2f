"""Answers of several tokens and generated text on a real language model, against the numbers of Hugging Face's."""

import pytest
import torch
from real_assertions import CLOSE, assert_near
from real_models import EIFFEL, UNEQUAL, adapted, plain, prompts, tokenizer

import dla

pytestmark = pytest.mark.slow

ANSWERS = [" Paris, France.", " Maryland Heights", " Mary, who was thirsty"]


@pytest.fixture(scope="module")
def heads():
    return dla.Attributor(adapted(), dla.HeadDecomposer())


def log_probabilities(prompt, answer):
    """Of each token of an answer, by the untouched model."""
    before, whole = (tokenizer()(text, return_tensors="pt").input_ids for text in (prompt, prompt + answer))
    with torch.no_grad():
        logs = plain()(whole).logits[0].double().log_softmax(-1)
    n = before.shape[1]
    return logs[n - 1 : -1].gather(-1, whole[0, n:, None])[:, 0]


def test_answers_have_the_log_probabilities_of_hugging_faces_model(heads):
    texts = prompts(UNEQUAL)
    result = heads.attribute(texts, dla.Continuation(ANSWERS))
    for i, (prompt, answer) in enumerate(zip(texts, ANSWERS, strict=True)):
        own = log_probabilities(prompt, answer)
        assert_near(result.logit[i, : len(own)], own, CLOSE)
        assert_near((result.total + result.constant)[i, : len(own)], own, CLOSE)
        assert_near(result.sum_positions().logit[i], own.sum(), CLOSE)


def test_a_tokenizer_that_joins_prompt_and_answer_otherwise_is_refused(heads):
    with pytest.raises(ValueError, match=r"alone it is \.\.\., ' city', ' of', ' ', and together they are .*' Paris'"):
        heads.attribute(EIFFEL.prompt + " ", dla.Continuation("Paris"))
    with pytest.raises(ValueError, match=r"Let the continuation begin where a token begins"):
        heads.attribute("The Eiffel Tower is in Par", dla.Continuation("is"))


CHAT = [{"role": "user", "content": "What is the capital of France?"}]


def test_a_chat_is_read_as_hugging_faces_tokenizer_writes_it(heads):
    options = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}
    chats = [CHAT, [*CHAT, {"role": "assistant", "content": "Paris."}, {"role": "user", "content": "And of Japan?"}]]
    result = heads.attribute(chats, dla.Continuation("The capital"))
    for i, chat in enumerate(chats):
        ids = tokenizer().apply_chat_template(chat, **options).input_ids[0]
        assert result.tokens[i] == [*map(tokenizer().decode, ids), "The", " capital"]
    answer = heads.generate(CHAT, 7)
    assert answer.tokens[0][-7:] == ["The", " capital", " of", " France", " is", " Paris", "."]


def test_what_the_model_writes_is_what_hugging_faces_model_writes(heads):
    result = heads.generate(prompts(UNEQUAL), 5)
    for i, prompt in enumerate(prompts(UNEQUAL)):
        ids = tokenizer()(prompt, return_tensors="pt")
        own = plain().generate(**ids, max_new_tokens=5, do_sample=False, pad_token_id=2)[0]
        assert result.tokens[i] == [tokenizer().decode([one]) for one in own]
        with torch.no_grad():
            logs = plain()(own[None]).logits[0].double().log_softmax(-1)
        n = ids.input_ids.shape[1]
        wanted = logs[n - 1 : -1].gather(-1, own[n:, None])[:, 0]
        assert_near(result.direction("log-probability").logit[i], wanted, CLOSE)

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

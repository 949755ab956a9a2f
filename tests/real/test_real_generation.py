"""A text that the model wrote itself: at each position it wrote, the token that follows is its own first answer."""

import pytest
import real_by_hand as by_hand
import torch
from real_assertions import CLOSE, assert_near
from real_models import EIFFEL, adapted, ids_of, plain, tokenizer

import dla

pytestmark = pytest.mark.slow

WRITTEN = 12
"""How many tokens it writes."""


@pytest.fixture(scope="module")
def text():
    """The ids of the prompt and what Hugging Face's greedy generation writes after it, `[pos]`."""
    ids = ids_of(EIFFEL.prompt)[None]
    with torch.no_grad():
        written = plain().generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=WRITTEN, do_sample=False, pad_token_id=2
        )
    return written[0]


@pytest.fixture(scope="module")
def result(text):
    """The next token's logit, at each position whose next token the model wrote."""
    start = len(ids_of(EIFFEL.prompt)) - 1
    attributor = dla.Attributor(adapted(), dla.HeadDecomposer())
    return attributor.attribute(text[None], dla.NextToken(), pos=slice(start, -1))


def test_the_model_goes_on_with_paris(text):
    assert len(text) == len(ids_of(EIFFEL.prompt)) + WRITTEN
    assert tokenizer().decode(text).startswith(EIFFEL.prompt + EIFFEL.answer)


def test_each_token_that_was_written_has_the_largest_logit(result, text):
    logits = by_hand.record(plain(), text).logits[-WRITTEN - 1 : -1]
    assert logits.argmax(-1).tolist() == text[-WRITTEN:].tolist()
    assert_near(result.logit[0], logits.amax(-1), CLOSE)


def test_the_rows_of_what_was_written_add_up_to_hugging_faces_logits(result, text):
    run = by_hand.record(plain(), text)
    assert_near((result.total + result.constant)[0], run.logits[-WRITTEN - 1 : -1].amax(-1), CLOSE)
    following = torch.cat([text[1:], text[-1:]])
    rows = by_hand.heads(run, run.direction(run.reading(following)))
    wanted = torch.stack([rows[label][-WRITTEN - 1 : -1] for label in result.labels])
    assert_near(result.values[:, 0], wanted, CLOSE)


def test_each_token_alone_has_the_row_that_it_has_in_the_text(result, text):
    """What was written so far, as a prompt of its own: the same rows for the token that came next."""
    attributor = dla.Attributor(adapted(), dla.HeadDecomposer())
    for i in (0, 5, WRITTEN - 1):
        end = len(text) - WRITTEN + i
        alone = attributor.attribute(text[None, :end], dla.Logit(int(text[end])))
        assert_near(alone.values[:, 0], result.values[:, 0, i], CLOSE)

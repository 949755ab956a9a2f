"""Tokens are shown so that they can be typed again."""

from typing import Any

import pytest
import tokenizers
from subjects import GPT2, LLAMA
from transformers import PreTrainedTokenizerFast

import dla
import dla.demo
from dla.adapters.tokenizers import vocabulary_of
from dla.inputs.vocabulary import Vocabulary

WORDS = {"<unk>": 0, "▁Paris": 1, "Paris": 2, "▁the": 3, "<0xC3>": 4, "▁": 5, "s": 6}


def pieces(scheme: str) -> Vocabulary:
    """Of a tokenizer like SentencePiece's, which puts a space in front of any text ("Llama") or of none ("never")."""
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, "<unk>"))
    if scheme == "Llama":
        steps = [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
        made.normalizer = tokenizers.normalizers.Sequence(steps)
    else:
        made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme=scheme)
    made.decoder = tokenizers.decoders.Sequence(
        [tokenizers.decoders.ByteFallback(), tokenizers.decoders.Metaspace(prepend_scheme="always")]
    )
    model = GPT2.fresh()
    model.tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", pad_token="<unk>")
    model.cfg.default_prepend_bos = False
    return vocabulary_of(model, 106)


def test_the_space_in_front_is_seen_where_it_can_be_typed() -> None:
    vocabulary = pieces("never")
    assert vocabulary.text(1) == " Paris"
    assert vocabulary.text(2) == "Paris"
    assert pieces("Llama").text(1) == "Paris"
    assert pieces("Llama").token("Paris") == 1


def test_what_has_no_text_is_shown_by_its_id() -> None:
    vocabulary = pieces("never")
    assert vocabulary.text(4) == "id:4"
    assert vocabulary.text(100) == "id:100"
    for token in (1, 2, 3, 4, 100):
        assert vocabulary.token(vocabulary.text(token)) == token
    with pytest.raises(ValueError, match=r"^Token id 1000 is outside the vocabulary"):
        vocabulary.token("id:1000")


def test_the_tokens_that_a_part_pushes_have_ids() -> None:
    model = LLAMA.model()
    found = dla.Attributor(model, dla.HeadDecomposer()).attribute("<s>", dla.Logit(9)).part("L0H0").top_tokens(3)
    frame: Any = found.to_dataframe()
    assert frame["id"].tolist() == [*found.up_ids, *found.down_ids]
    assert frame["token"].tolist() == [model.tokenizer.decode([one]) for one in frame["id"]]


@pytest.mark.slow
def test_every_token_of_a_real_model_can_be_typed_again() -> None:
    vocabulary = vocabulary_of(dla.demo.load_smollm2(), 49152)
    wrong = [one for one in range(0, 49152, 7) if vocabulary.token(vocabulary.text(one)) != one]
    assert wrong == []

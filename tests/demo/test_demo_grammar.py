from collections import Counter

import pytest

from dla.demo import ORDERS, TEMPLATES, giving_prompts, name_pairs
from dla.demo.tokenizer import UNKNOWN, build_tokenizer
from dla.demo.words import OBJECTS, PEOPLE, PLACES


def test_words_are_distinct_and_names_are_many():
    words = PEOPLE + PLACES + OBJECTS
    assert len(set(words)) == len(words)
    assert len(PEOPLE) >= 40


def test_the_sentence_of_the_literature_is_in_the_grammar():
    text = TEMPLATES["went"].format(first="Mary", second="John", subject="John", place="store", object="drink")
    assert text == "When Mary and John went to the store , John gave a drink to"


@pytest.mark.parametrize("held_out", [True, False])
def test_the_answer_is_named_once_and_the_other_name_twice(held_out):
    for prompt in giving_prompts(200, seed=3, held_out=held_out):
        answer, incorrect = prompt.answer.strip(), prompt.incorrect.strip()
        words = prompt.text.split()
        assert (prompt.answer, prompt.incorrect) == (f" {answer}", f" {incorrect}")
        assert (words.count(answer), words.count(incorrect)) == (1, 2)
        assert prompt.order == ("ABBA" if words.index(answer) < words.index(incorrect) else "BABA")


def test_templates_and_orders_are_balanced():
    counts = Counter((prompt.template, prompt.order) for prompt in giving_prompts(10 * len(TEMPLATES) * len(ORDERS)))
    assert len(TEMPLATES) >= 4
    assert counts == {(template, order): 10 for template in TEMPLATES for order in ORDERS}


def test_held_out_pairs_are_never_in_training_sentences():
    held_out = {frozenset(pair) for pair in name_pairs(held_out=True)}
    trained = {frozenset(pair) for pair in name_pairs(held_out=False)}
    assert len(held_out) + len(trained) == len(PEOPLE) * (len(PEOPLE) - 1) // 2
    for prompt in giving_prompts(5000, seed=0, held_out=False):
        assert frozenset((prompt.answer.strip(), prompt.incorrect.strip())) not in held_out
    for prompt in giving_prompts(1000, seed=0):
        assert frozenset((prompt.answer.strip(), prompt.incorrect.strip())) in held_out


def test_every_name_is_trained_and_evaluated():
    for held_out in (True, False):
        assert {name for pair in name_pairs(held_out=held_out) for name in pair} == set(PEOPLE)


def test_the_seed_decides():
    assert giving_prompts(50, seed=1) == giving_prompts(50, seed=1)
    assert giving_prompts(50, seed=1) != giving_prompts(50, seed=2)
    assert giving_prompts(50, seed=1)[:20] == giving_prompts(20, seed=1)
    assert giving_prompts(0) == []


def test_a_negative_number_is_refused():
    with pytest.raises(ValueError, match=r"n=-1: ask for at least 0 prompts\."):
        giving_prompts(-1)


def test_the_tokenizer_knows_every_word():
    tokenizer = build_tokenizer()
    for prompt in giving_prompts(200):
        ids = tokenizer.encode(prompt.text + prompt.answer)
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.convert_tokens_to_ids(UNKNOWN) not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == prompt.text + prompt.answer


def test_a_word_is_one_token_with_or_without_its_space():
    tokenizer = build_tokenizer()
    for word in PEOPLE + PLACES + OBJECTS:
        assert tokenizer.tokenize(word) == tokenizer.tokenize(f" {word}") == [word]
    assert tokenizer.tokenize("the store, John") == tokenizer.tokenize("the store , John")

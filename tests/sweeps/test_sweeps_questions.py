"""A sweep asks one kind of question, says which rows it could not ask and why, and never ranks what is not there."""

import dataclasses

import pandas as pd
import pyarrow.parquet as pq
import pytest
from sweep_subjects import as_csv, as_dataset, as_lines, as_parquet, assert_as_alone, attributor, by_heads, frame

import dla
import dla.demo

NO_INCORRECT = "The row has no 'incorrect' token while other rows of the corpus have one"


def mixed(lacking, count=30):
    """Differences, but for the rows of those numbers."""
    return frame(count, incorrect=dict.fromkeys(lacking))


def as_frame(corpus, _):
    return corpus


def as_frame_of_several_types(corpus, _):
    ids = dla.demo.load_small("raw").tokenizer.get_vocab()
    there = corpus["incorrect"].notna()
    given = [ids[token.strip()] if i % 2 and there[i] else token for i, token in enumerate(corpus["incorrect"])]
    return corpus.assign(incorrect=pd.Series(given, dtype=object).where(there, float("nan")))


WAYS = (as_frame, as_frame_of_several_types, as_csv, as_lines, as_parquet, as_dataset)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("lacking", [range(1, 30), (0, 7, 29)], ids=["only the first compares", "some do not"])
@pytest.mark.filterwarnings("ignore::dla.SweepWarning")
def test_rows_without_incorrect_are_none_of_a_sweep_of_differences(heads, tmp_path, way, lacking):
    folder = dla.sweep(way(mixed(lacking), tmp_path), heads, tmp_path / "out", window=8, batch_tokens=64)
    assert folder.manifest["direction"] == "logit of answer - logit of incorrect"
    rejected = folder.rejected()
    assert rejected["row"].tolist() == list(lacking)
    assert rejected["reason"].str.startswith(NO_INCORRECT).all()
    assert_as_alone(folder, heads, mixed(lacking))


@pytest.mark.filterwarnings("ignore::dla.SweepWarning")
def test_which_rows_are_asked_does_not_depend_on_their_order(heads, tmp_path):
    corpus = mixed((3, 4, 9), 12).assign(place=range(12))
    for name, order in (("a", range(12)), ("b", range(11, -1, -1)), ("c", [4, 3, 9, *range(3), *range(5, 9), 10, 11])):
        folder = dla.sweep(corpus.loc[list(order)].reset_index(drop=True), heads, tmp_path / name, window=4)
        assert sorted(folder.rejected()["place"].astype(int)) == [3, 4, 9]


@pytest.mark.filterwarnings("ignore::dla.SweepWarning")
def test_a_limit_does_not_make_another_question_of_it(heads, tmp_path):
    folder = dla.sweep(mixed((0, 1), 6), heads, tmp_path / "few", limit=3)
    assert folder.rejected()["row"].tolist() == [0, 1]


@pytest.mark.parametrize("nothing", [None, float("nan"), pd.NA])
def test_a_column_that_holds_nothing_asks_for_logits(heads, tmp_path, nothing):
    folder = dla.sweep(frame(4).assign(incorrect=nothing), heads, tmp_path)
    assert (folder.manifest["direction"], folder.count) == ("logit of answer", 4)
    assert_as_alone(folder, heads, frame(4).drop(columns="incorrect"))


@pytest.mark.filterwarnings("ignore::dla.SweepWarning")
def test_a_token_is_not_compared_with_itself(heads, tmp_path):
    corpus = frame(3)
    corpus.loc[1, "incorrect"] = corpus.loc[1, "answer"]
    (reason,) = dla.sweep(corpus, heads, tmp_path).rejected()["reason"]
    assert "'answer' and 'incorrect' are the same token" in reason


def test_a_sweep_of_logits_is_not_compared_with_one_of_differences(heads, tmp_path):
    both = dla.Summary.load(dla.sweep(frame(6), heads, tmp_path / "both").path)
    alone = dla.Summary.load(dla.sweep(frame(6).drop(columns="incorrect"), heads, tmp_path / "alone").path)
    with pytest.raises(ValueError, match="asks for the logit of answer - logit of incorrect, and the one in .*alone"):
        both.compare(alone)
    with pytest.raises(ValueError, match="a mean over both says nothing of either"):
        both.merge(alone)


def test_other_positions_are_another_question(heads, tmp_path):
    def swept(name, position):
        return dla.Summary.load(dla.sweep(frame(6).assign(position=position), heads, tmp_path / name).path)

    last = swept("last", None)
    ends = [len(ids) - 1 for ids in map(heads.model.vocabulary.prompt, frame(6)["prompt"])]
    assert last.compare(swept("end", ends)).top(1)[0][1] == pytest.approx(0, abs=1e-4)
    moved = [-1, -1, -1, -1, -2, -1]
    with pytest.raises(ValueError, match=r"Row 4 asks for .* at position -1 in .*last, and for .* at position -2 in"):
        last.compare(swept("moved", moved))


def test_another_model_is_compared(heads, tmp_path):
    first = dla.Summary.load(dla.sweep(frame(6), heads, tmp_path / "raw").path)
    second = dla.Summary.load(dla.sweep(frame(6), by_heads(dla.demo.load_small("bridge")), tmp_path / "bridge").path)
    comparison = first.compare(second)
    assert comparison.pairs == 6
    assert comparison.sums().set_index("sum").loc["logit", "mean"] == pytest.approx(0, abs=1e-4)


def test_rejected_rows_are_told_with_their_reasons(heads, tmp_path):
    wrong = {1: " a b", 4: " a b c", 5: " Mary John", 6: " x y", 8: " x y", 9: " x y z"}
    corpus = frame(12, answer=wrong, prompt={3: ""})
    with pytest.warns(dla.SweepWarning, match=r"7 of 12 rows were rejected:\n  6 × ' a b' is 2 tokens") as caught:
        folder = dla.sweep(corpus, heads, tmp_path / "out")
    assert caught[0].filename == __file__
    assert [(reason.count, reason.rows) for reason in folder.reasons()] == [(6, (1, 4, 5, 6, 8)), (1, (3,))]
    text = str(folder)
    assert "6 × ' a b' is 2 tokens ('a', '<unk>'); a logit belongs to one token." in text
    assert "(rows 1, 4, 5, 6, 8, ...)" in text
    assert "1 × The prompt is empty (''). Pass at least one token. (row 3)" in text
    assert f"are in {tmp_path / 'out' / 'rejected.parquet'}" in text
    assert pq.read_table(folder.rejected_file)["row"].to_pylist() == [1, 3, 4, 5, 6, 8, 9]
    with pytest.warns(dla.SweepWarning, match="7 of 12 rows were rejected"):
        dla.sweep(corpus, heads, tmp_path / "out")


def test_many_reasons_are_cut(heads, tmp_path):
    corpus = frame(6, answer={0: " a b", 1: True, 2: None, 3: 500, 4: 1.5})
    with pytest.warns(dla.SweepWarning, match="and 2 more reasons\n"):
        folder = dla.sweep(corpus, heads, tmp_path / "out")
    assert len(folder.reasons()) == 5


def test_a_sweep_that_kept_nothing_says_so(heads, tmp_path):
    with pytest.warns(dla.SweepWarning, match="No row was kept: there is nothing to summarise.\n  5 of 5 rows were"):
        folder = dla.sweep(frame(5).assign(answer="a b"), heads, tmp_path / "none")
    assert (folder.count, folder.complete) == (0, True)
    summary = dla.Summary.load(folder.path)
    with pytest.raises(ValueError, match="No prompt was kept .*: all 5 rows were rejected. rejected.parquet there"):
        summary.top(3)


UNKNOWN = "When Zebedee and Mary went to the store , Xerxes gave a drink to"


def test_prompts_with_unknown_words_are_counted(heads, tmp_path):
    corpus = frame(5, prompt={1: UNKNOWN, 3: UNKNOWN, 4: "When <unk> and Mary"})  # the last is what it says
    with pytest.warns(dla.SweepWarning, match="words that the model does not know, .*: 2$") as caught:
        folder = dla.sweep(corpus, heads, tmp_path)
    assert len(caught) == 1
    assert folder.manifest["counts"]["unknown"] == 2
    assert "unknown token: 2" in str(folder)


def test_unknown_words_after_the_position_are_not_read(heads, tmp_path):
    assert dla.sweep(frame(1).assign(prompt=UNKNOWN, position=1), heads, tmp_path).manifest["counts"]["unknown"] == 0


def test_a_bos_token_that_is_the_unknown_one_is_known(heads, tmp_path, monkeypatch):
    bos = heads.model.vocabulary.prompt("When")[0]
    by = attributor()
    words = dataclasses.replace(by.model.vocabulary, unknown=bos)
    monkeypatch.setattr(type(by.model), "vocabulary", property(lambda _: words))
    assert dla.sweep(frame(3), by, tmp_path).manifest["counts"]["unknown"] == 0

import pytest
import torch

from dla.demo import FOLDER, load_folder, load_hugging_face, train
from dla.demo.grammar import giving_prompts
from dla.demo.tokenizer import build_tokenizer
from dla.demo.training import encode


@pytest.fixture(autouse=True)
def few_sentences(monkeypatch):
    monkeypatch.setattr("dla.demo.training.SENTENCES", 200)
    monkeypatch.setattr(train, "EVALUATED", 20)


def test_a_short_training_writes_a_loadable_folder(tmp_path, capsys):
    out = tmp_path / "model"
    assert train.run_training(["--out", str(out), "--steps", "3", "--seed", "5"]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("held-out accuracy", "mean logit difference", "MB", "seconds"))
    assert {file.name for file in out.iterdir()} == {file.name for file in FOLDER.iterdir()}
    assert load_folder(out, "raw").to_str_tokens("When Mary") == ["<s>", "When", "Mary"]
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_the_seed_decides_on_the_weights(tmp_path):
    for out, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        train.run_training(["--out", str(tmp_path / out), "--steps", "2", "--seed", seed])
    a, b, c = (load_hugging_face(tmp_path / out)[0].lm_head.weight for out in "abc")
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_an_interrupt_leaves_everything_as_it_was(tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("the old one")
    monkeypatch.setattr("transformers.PreTrainedTokenizerBase.save_pretrained", interrupt)
    assert train.run_training(["--out", str(tmp_path / "model"), "--steps", "1"]) == 130
    assert "nothing was saved" in capsys.readouterr().out
    assert [file.name for file in tmp_path.rglob("*")] == ["model", "config.json"]
    assert (tmp_path / "model" / "config.json").read_text() == "the old one"


def test_a_failed_move_puts_the_old_folder_back(tmp_path):
    out = tmp_path / "model"
    out.mkdir()
    (out / "config.json").write_text("the old one")
    with pytest.raises(FileNotFoundError), train.replaced_folder(out) as new:
        new.rmdir()
    assert [file.name for file in tmp_path.rglob("*")] == ["model", "config.json"]


def test_an_existing_folder_is_replaced(tmp_path):
    out = tmp_path / "model"
    out.mkdir()
    (out / "left over").touch()
    with train.replaced_folder(out) as new:
        (new / "fresh").touch()
    assert [file.name for file in tmp_path.rglob("*")] == ["model", "fresh"]


def test_the_loss_weighs_the_answer_and_skips_padding():
    tokenizer = build_tokenizer()
    sentences = giving_prompts(14)
    tokens, weights = encode(tokenizer, sentences)
    answers = tokens[torch.arange(14), weights.argmax(dim=1)]
    assert tokenizer.convert_ids_to_tokens(answers) == [sentence.answer.strip() for sentence in sentences]
    assert torch.equal(weights == 0, tokens == tokenizer.pad_token_id)
    assert (weights == 10).sum() == 14

"""A summary on disk."""

import json

import pandas as pd
import pytest
from folders import LABELS, corpus, drawn, write_folder
from handmade import alterations
from likeness import assert_alike

import dla
from dla.errors import FileFormatError
from dla.views.sealed import sealed_json, unsealed_json


@pytest.fixture
def summary(tmp_path):
    return dla.Summary.load(write_folder(tmp_path / "s", corpus(30), drawn(30)), "order", top_k=3, bootstrap=20, seed=4)


def test_a_file_holds_all_of_it(summary, tmp_path):
    summary.save(tmp_path / "summary.json")
    again = dla.Summary.read(tmp_path / "summary.json")
    assert_alike(again, summary)
    assert (again.about, again.settings) == (summary.about, summary.settings)
    for interval in (dla.NormalInterval(), dla.BootstrapInterval()):
        pd.testing.assert_frame_equal(again.to_dataframe(interval), summary.to_dataframe(interval), check_exact=True)
    assert again.top_prompts("L0H0", 3) == summary.top_prompts("L0H0", 3)
    assert again.compare(summary).pairs == 30


def test_a_file_is_json_that_anything_reads(summary, tmp_path):
    summary.save(tmp_path / "summary.json")
    text = (tmp_path / "summary.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["format"] == "dla.summary/5"


def test_a_file_in_no_folder_and_a_folder(summary, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nodir/s\.json': there is no folder '.*nodir'\. Make it"):
        summary.save(tmp_path / "nodir" / "s.json")
    with pytest.raises(IsADirectoryError, match=r"' is a folder\. Pass the name of a file"):
        summary.save(tmp_path)


@pytest.mark.parametrize("n", [0, 1])
def test_few_prompts_on_disk(tmp_path, n):
    summary = dla.Summary.load(write_folder(tmp_path / "t", corpus(n), drawn(n)), bootstrap=2)
    summary.save(tmp_path / "summary.json")
    assert_alike(dla.Summary.read(tmp_path / "summary.json"), summary)


def test_what_was_read_can_be_merged(summary, tmp_path):
    rest = write_folder(tmp_path / "t", corpus(10, start=30), drawn(10))
    other = dla.Summary.load(rest, "order", top_k=3, bootstrap=20, seed=4)
    for number, one in enumerate((summary, other)):
        one.save(tmp_path / f"{number}.json")
    read = [dla.Summary.read(tmp_path / f"{number}.json") for number in (0, 1)]
    assert_alike(read[0].merge(read[1]), summary.merge(other))


def test_a_computed_column_is_not_in_the_file(tmp_path):
    folder = write_folder(tmp_path / "t", corpus(10), drawn(10))
    summary = dla.Summary.load(folder, {"long": lambda prompts: prompts["length"] > 3})
    summary.save(tmp_path / "summary.json")
    again = dla.Summary.read(tmp_path / "summary.json")
    assert_alike(again, summary)
    with pytest.raises(ValueError, match="How 'long' was computed is not in the file"):
        again.compare(summary)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file .*none.json"):
        dla.Summary.read(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a summary saved by this library, or was cut short"),
        ("[1, 2]", "is not a summary saved by this library"),
        ('{"format": "dla.sweep/1"}', "its format is 'dla.sweep/1' and this library reads 'dla.summary/5'"),
        ('{"format": "dla.summary/5"}', "or edited .it does not begin with a checksum.. Save it again"),
        (sealed_json('{"format": "dla.summary/5"}'), "or edited .about: Field required"),
        ("[" * 100_000, "is not a summary"),
        (sealed_json('{"about": ' + "[" * 100_000), "is not a summary"),
    ],
)
def test_a_file_that_is_no_summary(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(FileFormatError, match=message):
        dla.Summary.read(tmp_path / "x.json")


def test_every_bit_counts(summary, tmp_path):
    path = tmp_path / "x.json"
    summary.save(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 211):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(FileFormatError, match="checksum|its format is"):
            dla.Summary.read(path)


def test_a_file_made_by_hand_is_read_or_refused(tmp_path):
    folder = write_folder(tmp_path / "s", corpus(4), drawn(4)[:, :2], labels=LABELS[:2])
    path, refused = tmp_path / "x.json", 0
    dla.Summary.load(folder, "order", top_k=1, bootstrap=1).save(path)
    for altered in alterations(json.loads(unsealed_json(path.read_bytes()))):
        path.write_text(sealed_json(json.dumps(altered)))
        try:
            read = dla.Summary.read(path)
            assert str(read)
            assert read.settings.top_k != 1 or not read.count or read.top_prompts("L0H0", 1)
        except FileFormatError:
            refused += 1
    assert refused > 400


def test_what_does_not_go_together(summary, tmp_path):
    path = tmp_path / "x.json"
    summary.save(path)
    for change, message in (
        (lambda told: told["about"]["parts"].pop(), "cannot reshape array"),
        (lambda told: told["groups"][0]["group"].append("x"), "its groups are not those of rows that are split by"),
        (lambda told: told["groups"].append(told["groups"][0]), "its groups are not those of rows that are split by"),
        (lambda told: told["groups"][0]["extremes"]["texts"].popitem(), "cannot reshape array|its prompts at the ends"),
    ):
        told = json.loads(unsealed_json(path.read_bytes()))
        change(told)
        other = tmp_path / "other.json"
        other.write_text(sealed_json(json.dumps(told)))
        with pytest.raises(FileFormatError, match=f"cut short or edited .{message}"):
            dla.Summary.read(other)


def test_a_disk_that_is_full_leaves_the_old_file(summary, tmp_path, monkeypatch):
    (tmp_path / "x.json").write_text("the old one")

    def full(self, text, **options):
        with self.open("w") as file:
            file.write(text[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        summary.save(tmp_path / "x.json")
    monkeypatch.undo()
    assert (tmp_path / "x.json").read_text() == "the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s", "x.json"]


def test_the_ending_of_another_format(tmp_path):
    summary = dla.Summary.load(write_folder(tmp_path / "s", corpus(6), drawn(6)))
    for name, message in (
        (
            "s.csv",
            r"'s\.csv' has the ending of another format, and what is written is JSON\. Name it 's\.json'\. For a \.csv",
        ),
        ("s.nc", r"'s\.nc' has the ending of another format, .* Name it 's\.json'\.$"),
        ("s.parquet", r"use to_dataframe\(\)\.to_parquet\('s\.parquet'\)"),
    ):
        with pytest.raises(ValueError, match=message):
            summary.save(tmp_path / name)
    summary.save(tmp_path / "s.JSON")
    assert dla.Summary.read(tmp_path / "s.JSON").labels == summary.labels

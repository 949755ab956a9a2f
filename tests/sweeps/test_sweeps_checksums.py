"""What a folder holds is what the sweep wrote, or an error that names the file."""

import shutil
from pathlib import Path

import pytest
from handmade import alterations
from sweep_subjects import Interrupted, assert_same, frame, stop

import dla
from dla.errors import FileFormatError
from dla.sweeps.manifest import read_manifest, write_manifest
from dla.views.sealed import sealed_json

SETTINGS = {"window": 6, "batch_tokens": 100}

pytestmark = pytest.mark.filterwarnings("ignore::dla.SweepWarning")


def corpus():
    return frame(24, answer={2: " two tokens", 9: " two tokens"})


@pytest.fixture(scope="module")
def whole(heads, tmp_path_factory):
    return dla.sweep(corpus(), heads, tmp_path_factory.mktemp("whole"), **SETTINGS).path


@pytest.fixture(scope="module")
def half(heads, tmp_path_factory):
    out = tmp_path_factory.mktemp("half")
    with pytest.raises(OSError, match="stopped"):
        dla.sweep(corpus(), heads, out, engine=Interrupted(stop, after=5), **SETTINGS)
    return out


@pytest.fixture(params=["complete", "not complete"])
def folder(request, whole, half, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(whole if request.param == "complete" else half, tmp_path / "copy")


def flip(path, place=-40):
    contents = bytearray(path.read_bytes())
    contents[place] ^= 1
    path.write_bytes(contents)


def numbers(folder):
    return sorted(file.stem for file in (folder / "prompts").iterdir())


def flipped(kind):
    def damage(folder):
        file = folder / kind / f"{numbers(folder)[1]}.parquet"
        flip(file)
        return file

    damage.__name__ = f"a flipped bit in {kind}"
    return damage


def cut_short(folder):
    file = folder / "parts" / f"{numbers(folder)[1]}.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    return file


def lost(folder):
    file = folder / "parts" / f"{numbers(folder)[1]}.parquet"
    file.unlink()
    return file


def lost_shard(folder):
    name = f"{numbers(folder)[1]}.parquet"
    for kind in ("parts", "prompts"):
        (folder / kind / name).unlink()
    return folder / "prompts" / name


def lost_prompts(folder):
    first = folder / "prompts" / f"{numbers(folder)[0]}.parquet"
    shutil.rmtree(folder / "prompts")
    return first


def swapped(folder):
    one, other = numbers(folder)[:2]
    for kind in ("parts", "prompts"):
        a, b = (folder / kind / f"{number}.parquet" for number in (one, other))
        a.rename(folder / "aside")
        b.rename(a)
        (folder / "aside").rename(b)
    return folder / "prompts" / f"{one}.parquet"


DAMAGES = (flipped("parts"), flipped("prompts"), cut_short, lost, lost_shard, lost_prompts, swapped)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_noticed_by_whoever_reads_or_resumes(heads, folder, damage):
    named = damage(folder).relative_to(folder).as_posix()
    match = f"{named}.*' is missing or damaged .*(Delete the folder, and sweep again|the same call of sweep then does)"
    for read in (
        lambda: list(dla.open_sweep(folder).shards()),
        dla.open_sweep(folder).to_dataframe,
        lambda: dla.Summary.load(folder),
    ):
        with pytest.raises(FileFormatError, match=match):
            read()
    with pytest.raises(FileFormatError, match="is missing or damaged"):
        dla.sweep(corpus(), heads, folder, **SETTINGS)


def test_the_remedy_helps(heads, half, whole, tmp_path):
    folder = shutil.copytree(half, tmp_path / "copy")
    first, _, third = (folder / "parts" / f"{number}.parquet" for number in numbers(folder)[:3])
    for damage in (lambda: flip(first), third.unlink):
        damage()
        with pytest.raises(FileFormatError, match=r"Delete '.*/results/\d+.json'") as caught:
            dla.sweep(corpus(), heads, folder, **SETTINGS)
        (folder / "results" / str(caught.value).split("/results/")[1].split("'")[0]).unlink()
    assert_same(dla.sweep(corpus(), heads, folder, **SETTINGS), dla.open_sweep(whole))


def test_rejected_rows_are_checked_too(folder):
    opened = dla.open_sweep(folder)
    assert len(opened.rejected()) == 2 if opened.complete else 1
    file = opened.rejected_file if opened.complete else next(opened.rejected_file.iterdir())
    flip(file)
    with pytest.raises(FileFormatError, match=r"rejected.*parquet' is missing or damaged"):
        opened.rejected()
    with pytest.raises(FileFormatError, match=r"rejected.*parquet' is missing or damaged"):
        opened.check()


def test_every_bit_of_the_manifest_counts(folder):
    path = folder / "manifest.json"
    text = path.read_text()
    for old, new in (
        ('"prompts": ', '"prompts": 1'),
        ("L1H2", "L1H3"),
        ('"complete": ', '"complete":  1 and '),
        ("{", ""),
        ("\n", "\n "),
    ):
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(FileFormatError, match=r"manifest.json' was not written by this library, or is damaged"):
            dla.open_sweep(folder)
        with pytest.raises(FileFormatError, match=r"manifest.json' was not written by this library, or is damaged"):
            dla.Summary.load(folder)


def test_a_manifest_made_by_hand_is_read_or_refused(whole, tmp_path):
    folder, told, refused = shutil.copytree(whole, tmp_path / "copy"), read_manifest(whole), 0
    for altered in alterations(told):
        write_manifest(folder, altered)
        try:
            opened = dla.open_sweep(folder)
            assert str(opened)
            assert opened.notes()
            assert opened.results() or not opened.complete
        except FileFormatError:
            refused += 1
    assert refused > 300
    write_manifest(folder, {**told, "counts": {**told["counts"], "prompts": "22"}})
    with pytest.raises(FileFormatError, match="is damaged .counts.prompts: Input should be a valid integer"):
        dla.open_sweep(folder)


def test_a_shard_of_another_sweep_is_noticed(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "copy")
    for kind in ("parts", "prompts"):
        shutil.copy(folder / kind / "00000000.parquet", folder / kind / "00000777.parquet")
    with pytest.raises(FileFormatError, match=r"prompts/00000777.parquet' is not of the sweep that its folder holds"):
        dla.Summary.load(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "00000000.json' is damaged .it does not begin with a checksum"),
        (sealed_json('{"number": 0}').replace("0}", "1}"), "is damaged .its checksum is .{8}, and .{8} was noted"),
        (sealed_json('{"number": 0}'), "is damaged .prompts: Field required"),
        (sealed_json('{"number": "0"}'), "is damaged .number: Input should be a valid integer"),
    ],
)
def test_a_result_that_is_damaged(half, tmp_path, text, message):
    folder = shutil.copytree(half, tmp_path / "copy")
    (folder / "results" / "00000000.json").write_text(text)
    with pytest.raises(FileFormatError, match=f"{message}.*Delete it: the same call of sweep does its batch again"):
        dla.Summary.load(folder)


def test_a_result_of_another_shard(half, tmp_path):
    folder = shutil.copytree(half, tmp_path / "copy")
    first, second = sorted((folder / "results").iterdir())[:2]
    shutil.copy(second, first)
    with pytest.raises(FileFormatError, match=f"{first.name}' is damaged .it is that of shard {int(second.stem)}"):
        dla.Summary.load(folder)


def test_shards_that_may_not_be_seen(half, tmp_path, monkeypatch):
    folder, see = shutil.copytree(half, tmp_path / "copy"), Path.iterdir

    def hidden(self):
        if self.name == "results":
            raise PermissionError(13, "Permission denied", str(self))
        return see(self)

    monkeypatch.setattr(Path, "iterdir", hidden)
    with pytest.raises(PermissionError, match="Permission denied: '.*/results'"):
        dla.Summary.load(folder)


def test_a_folder_in_the_place_of_a_file(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "copy")
    file = folder / "parts" / f"{numbers(folder)[0]}.parquet"
    file.unlink()
    file.mkdir()
    with pytest.raises(FileFormatError, match=f"{file.name}' is missing or damaged .Is a directory.. Delete"):
        dla.Summary.load(folder)


def without_a_result(folder):
    next((folder / "results").iterdir()).unlink()


def test_a_complete_sweep_is_one_that_lies_there(heads, whole, tmp_path):
    for i, (loss, message) in enumerate(
        (
            (flipped("parts"), r"parts/\d+.parquet' is missing or damaged"),
            (lost_prompts, r"prompts/\d+.parquet' is missing or damaged"),
            (
                without_a_result,
                "hold 1?[0-9] of the corpus' 24 rows, done or rejected.*The same call does what is missing",
            ),
        )
    ):
        with pytest.raises(FileFormatError, match=message):
            dla.sweep(corpus(), heads, tmp_path / str(i), engine=Interrupted(loss), **SETTINGS)
        assert not dla.open_sweep(tmp_path / str(i)).complete
    assert_same(dla.sweep(corpus(), heads, tmp_path / "2", **SETTINGS), dla.open_sweep(whole))


def test_what_the_manifest_claims_is_what_lies_there(whole):
    folder = dla.open_sweep(whole)
    assert folder.count == sum(len(shard.prompts) for shard in folder.shards()) == 22
    assert folder.manifest["counts"]["rejected"] == len(folder.rejected()) == 2
    assert [result.number for result in folder.results()] == [shard.number for shard in folder.shards()]
    assert not (whole / "results").exists()


def test_a_manifest_that_is_complete_by_hand_is_checked(half, tmp_path):
    folder = shutil.copytree(half, tmp_path / "copy")
    write_manifest(folder, {**read_manifest(folder), "complete": True})
    with pytest.raises(FileFormatError, match="is not of the sweep that its folder holds"):
        list(dla.open_sweep(folder).shards())

"""Attributions on disk: what comes back is what was saved; what is not ours, or not whole, is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from assertions import assert_identical
from subjects import GPT2, LLAMA, each_decomposer, some_tokens

import dla
from dla.testing import TinyModel
from dla.testing.models import PROMPT
from dla.views.files import replacing, write_dataset
from dla.views.sealed import check_sealed_file, seal_file, sealed_json

HEADS = dla.HeadDecomposer()


def attribution(
    prompts: object = PROMPT, pos: object = -1, decomposer: dla.Decomposer | None = None
) -> dla.Attribution:
    attributor = dla.Attributor(GPT2.model(), decomposer or dla.HeadDecomposer())
    return attributor.attribute(prompts, dla.LogitDifference(" Mary", " John"), pos=pos)


@each_decomposer
@pytest.mark.filterwarnings("ignore:The model does not know:dla.PromptWarning")
@pytest.mark.parametrize("pos", [-1, None, [0, -1]], ids=str)
def test_what_is_loaded_is_what_was_saved(decomposer: dla.Decomposer, pos: object, tmp_path: Path) -> None:
    result = attribution([PROMPT, 'When Mary , "John" <s> \' went'], pos, decomposer)
    result.save(tmp_path / "result.nc")
    loaded = dla.load(tmp_path / "result.nc")
    assert_identical(loaded, result)
    assert loaded.top(3) == result.top(3)
    assert str(loaded) == str(result)
    assert loaded.provenance.row_kind == decomposer.row_kind.value


def test_a_selection_an_unbatched_and_a_double_result(tmp_path: Path) -> None:
    model, tokens = GPT2.model(), some_tokens(17, 1)
    _, cache = model.run_with_cache(tokens)
    cache.remove_batch_dim()
    unbatched = dla.Attributor(model, dla.HeadDecomposer()).attribute(None, dla.Logit(9), cache=cache)
    double = dla.Attributor(TinyModel("gpt2", dtype=torch.float64).model(), dla.HeadDecomposer())
    for i, result in enumerate((attribution().select(kind="head"), unbatched, double.attribute(tokens, dla.Logit(9)))):
        result.save(str(tmp_path / f"{i}.nc"))
        assert_identical(dla.load(str(tmp_path / f"{i}.nc")), result)


def test_the_file_says_where_the_numbers_come_from(tmp_path: Path) -> None:
    result = attribution()
    result.save(tmp_path / "result.nc")
    provenance = dla.load(tmp_path / "result.nc").provenance
    assert provenance.direction == "logit difference ' Mary' - ' John'"
    assert (provenance.decomposer, provenance.row_kind, provenance.dtype) == ("HeadDecomposer", "additive", "float32")
    assert {"dla", "transformer-lens", "torch"} <= set(provenance.versions)
    assert provenance.versions["dla"] == dla.__version__
    assert provenance.tokens[0][-1] == " to"
    with xr.open_dataset(tmp_path / "result.nc", engine="h5netcdf") as data:
        assert float(np.abs(data["gap"]).max()) == pytest.approx(float(result.gap.abs().max()))
        assert data["values"].sel(part="L1H2").item() == pytest.approx(
            float(result.values[result.labels.index("L1H2")])
        )


def test_saving_replaces_a_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    attribution("When Mary").save(tmp_path / "result.nc")
    result = attribution()
    result.save(tmp_path / "result.nc")
    assert_identical(dla.load(tmp_path / "result.nc"), result)
    assert [path.name for path in tmp_path.iterdir()] == ["result.nc"]


def test_a_save_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = attribution("When Mary")
    old.save(tmp_path / "result.nc")

    def fail(data: xr.Dataset, path: Path, **options: object) -> None:
        Path(path).write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
    with pytest.raises(OSError, match="No space left"):
        attribution().save(tmp_path / "result.nc")
    assert_identical(dla.load(tmp_path / "result.nc"), old)
    assert [path.name for path in tmp_path.iterdir()] == ["result.nc"]


ENDLESS = """
import sys, pathlib, dla
result = dla.load(sys.argv[1])
print("saving", flush=True)
while True:
    result.save(sys.argv[2])
"""


def test_a_process_killed_while_it_saves_leaves_a_whole_file_or_none(tmp_path: Path) -> None:
    result = attribution([PROMPT] * 3, None, dla.NeuronDecomposer())
    result.save(tmp_path / "source.nc")
    target = tmp_path / "target.nc"
    command = [sys.executable, "-c", ENDLESS, str(tmp_path / "source.nc"), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "HF_HUB_OFFLINE": "1"}) as saver:
        assert saver.stdout is not None
        assert saver.stdout.readline() == b"saving\n"
        deadline = time.monotonic() + 20
        while not any(path.suffix == ".part" for path in tmp_path.iterdir()) and time.monotonic() < deadline:
            pass
        saver.send_signal(signal.SIGKILL)
        assert saver.wait() == -signal.SIGKILL
    assert any(path.suffix == ".part" for path in tmp_path.iterdir()), "killed at another moment than half-way"
    if target.exists():
        assert_identical(dla.load(target), result)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999])
def test_a_file_that_was_cut_short(share: float, tmp_path: Path) -> None:
    path = tmp_path / "result.nc"
    attribution([PROMPT, "When Mary"], None).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(dla.FileFormatError, match=r"'.*result\.nc' is not an attribution .* or was cut short"):
        dla.load(path)


def test_a_file_cut_at_any_length(tmp_path: Path) -> None:
    path = tmp_path / "result.nc"
    attribution().save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:length])
        with pytest.raises(dla.FileFormatError, match="cut short"):
            dla.load(path)


def test_files_of_others(tmp_path: Path) -> None:
    text, netcdf = tmp_path / "text.nc", tmp_path / "other.nc"
    text.write_text("part,value\nembed,1.0\n")
    xr.Dataset({"values": ("x", [1.0])}).to_netcdf(netcdf, engine="h5netcdf")
    for path in (text, netcdf):
        with pytest.raises(
            dla.FileFormatError, match=r"\.nc' is not an attribution saved .*there is no checksum at its"
        ):
            dla.load(path)
    seal_file(text)
    with pytest.raises(dla.FileFormatError, match=r"text\.nc' is not an attribution saved by this library"):
        dla.load(text)
    for other in ("dla.attribution/1", "dla.summary/99", "another", None):
        write_dataset(xr.Dataset(attrs={} if other is None else {"format": other}), netcdf)
        with pytest.raises(dla.FileFormatError, match=f"its format is {other!r} and this library reads 'dla.attrib"):
            dla.load(netcdf)


def test_a_file_of_a_newer_version(tmp_path: Path) -> None:
    write_dataset(xr.Dataset({"unknown": ("x", [1.0])}, attrs={"format": "dla.attribution/99"}), tmp_path / "a.nc")
    with pytest.raises(dla.FileFormatError, match=r"newer version .* reads 'dla.attribution/5'\. .* update dla"):
        dla.load(tmp_path / "a.nc")
    (tmp_path / "a.json").write_text(sealed_json('{"format": "dla.summary/99", "more": 1}'))
    with pytest.raises(dla.FileFormatError, match="The file was written by a newer version"):
        dla.Summary.read(tmp_path / "a.json")
    (tmp_path / "manifest.json").write_text(sealed_json('{"format": "dla.sweep/99"}'))
    with pytest.raises(dla.FileFormatError, match="Nothing is wrong with the file"):
        dla.open_sweep(tmp_path)


def test_every_bit_of_a_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "result.nc"
    attribution("When Mary").save(path)
    whole = path.read_bytes()
    for place in [*range(0, len(whole), 97), *range(len(whole) - 90, len(whole), 7)]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(dla.FileFormatError, match="checksum"):
            dla.load(path)
    path.write_bytes(whole + b"\n")
    with pytest.raises(dla.FileFormatError, match="there is no checksum at its end"):
        dla.load(path)
    path.write_bytes(whole)
    check_sealed_file(path)


Edit = Callable[[xr.Dataset], xr.Dataset]


def added(name: str) -> Edit:
    """One to a number of the first row."""
    return lambda data: data.assign({name: data[name] + (np.arange(data[name].size) == 1).reshape(data[name].shape)})


def told(**fields: object) -> Edit:
    """Another provenance."""
    return lambda data: data.assign_attrs(provenance=json.dumps({**json.loads(data.attrs["provenance"]), **fields}))


def coordinate(name: str, first: object) -> Edit:
    """Another value in the first place of a coordinate."""

    def edit(data: xr.Dataset) -> xr.Dataset:
        values = data[name].values.astype(object) if isinstance(first, str) else data[name].values.copy()
        values.flat[0] = first
        return data.assign_coords({name: (data[name].dims, values)})

    return edit


def parents(text: str) -> Edit:
    return lambda data: data.assign_attrs(parents=text)


EDITS: list[tuple[str, Edit, str]] = [
    ("a value", added("values"), "its rows do not make their total"),
    ("the total", added("total"), "its rows do not make their total"),
    ("the gap", added("gap"), "its gap is not what its logit"),
    ("the logit", added("logit"), "its gap is not what its logit"),
    ("rows left out", lambda data: data.isel(part=slice(5)), "its rows do not make their total"),
    ("no tolerance", lambda data: data.drop_vars("tolerance"), "tolerance"),
    ("no kinds", lambda data: data.drop_vars("kind"), "kind"),
    ("no provenance", lambda data: data.drop_attrs(), "its format is None"),
    ("whole numbers", lambda data: data.assign(total=data["total"].astype(int)), "'total' has the axes .* type int"),
    ("another kind of rows", told(row_kind="magic"), "'magic' is not a valid RowKind"),
    ("a text that is none", told(direction=3), "direction: Input should be a valid string"),
    ("other axes", told(dims=["position", "batch"]), "the axes .* are none that a result can have"),
    ("an axis less", told(dims=["batch"]), "'position_in_prompt' has the axes"),
    ("directions", told(directions=["a"]), r"the directions are \[\], and \['a'\]"),
    ("other prompts", told(tokens=[["a", "b"], ["c", "d"]]), "the tokens at its positions are not those"),
    ("more prompts", told(tokens=[["a"]] * 3), "numbers of 2 prompts, and tokens of 3"),
    ("prompts of numbers", told(tokens=[[1], [2]]), "tokens.0.0: Input should be a valid string"),
    ("a position", coordinate("position_in_prompt", 10**9), "the tokens at its positions|outside of the prompts"),
    ("a label", coordinate("part", "embedding"), "the part 'embedding' is described as 'embed'"),
    ("a layer", coordinate("layer", 7), "the part 'embed' is described as '7_embed'"),
    ("deep JSON", parents("[" * 50_000), "recursion limit exceeded"),
    (
        "a circle",
        parents('{"a": ["k", 0, 0, null, null, "b"], "b": ["k", 0, 0, null, null, "a"]}'),
        "the part 'b', of which another is a piece, is",
    ),
    ("many variables", lambda data: data.assign({f"v{i}": 0.0 for i in range(2000)}), "'v0', which is not one of its"),
]


@pytest.mark.parametrize(("edit", "message"), [pytest.param(*case, id=name) for name, *case in EDITS])
def test_what_was_edited_and_given_a_new_checksum(edit: Edit, message: str, tmp_path: Path) -> None:
    path = tmp_path / "result.nc"
    write_dataset(edit(attribution([PROMPT, "When Mary"], [0, -1]).to_xarray()), path)
    begin = time.monotonic()
    with pytest.raises(dla.FileFormatError, match=rf"result\.nc' is not an attribution saved .*{message}.*Save it"):
        dla.load(path)
    assert time.monotonic() - begin < 5


def test_more_numbers_than_the_file_can_hold(tmp_path: Path) -> None:
    path = tmp_path / "result.nc"
    attribution().save(path)
    with h5py.File(path, "r+") as file:
        del file["values"]
        file.create_dataset("values", (2**40,), "f4", chunks=(2**20,), compression="gzip")
    seal_file(path)
    with pytest.raises(dla.FileFormatError, match=r"'values' of shape .1099511627776,. is more than the file can hold"):
        dla.load(path)


def test_a_variable_that_lies_elsewhere(tmp_path: Path) -> None:
    path, other = tmp_path / "result.nc", tmp_path / "other.nc"
    attribution().save(path)
    shutil.copy(path, other)
    with h5py.File(path, "r+") as file:
        del file["values"]
        file["values"] = h5py.ExternalLink(str(other), "/values")
    seal_file(path)
    with pytest.raises(dla.FileFormatError, match="'values', which is not one of its variables"):
        dla.load(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "y.csv",
            r"^'y\.csv' has the ending of another format, and what is written is netCDF\. Name it 'y\.nc'\. For",
        ),
        ("y.JSON", r"Name it 'y\.nc'\. For a \.json file use to_dataframe\(\)\.to_json\('y\.JSON'\)"),
        ("y.parquet", r"For a \.parquet file use to_dataframe\(\)\.to_parquet\('y\.parquet'\)"),
        ("y.csv.gz", r"For a \.csv file use to_dataframe\(\)\.to_csv\('y\.csv\.gz'\)"),
        ("y.pkl", r"For a \.pkl file use to_dataframe\(\)\.to_pickle\('y\.pkl'\)"),
        ("y.html", r"For a \.html file use report\('y\.html'\)"),
        ("y.png", r"'y\.png' has the ending of another format, .* Name it 'y\.nc'\.$"),
        ("y.nc.gz", r"'y\.nc\.gz' has the ending of another format, .* Name it 'y\.nc'\.$"),
    ],
)
def test_the_ending_of_another_format(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        attribution().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_endings_that_promise_nothing_else(tmp_path: Path) -> None:
    for name in ("y", "y.nc", "y.NC", "y.h5", "run.2024", "csv"):
        attribution().save(tmp_path / name)
        assert dla.load(tmp_path / name).labels == attribution().labels


def test_a_file_that_cannot_be_written_is_called_as_the_user_called_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, path = attribution("When Mary"), tmp_path / "nodir" / "y.nc"
    with pytest.raises(FileNotFoundError, match=r"^'.*nodir/y\.nc': there is no folder '.*nodir'\. Make it, or pass"):
        result.save(path)
    with pytest.raises(IsADirectoryError, match=r"' is a folder\. Pass the name of a file\.$"):
        result.save(tmp_path)
    with pytest.raises(ValueError, match=r"^The path of the file is ''\. Pass the name of one;"):
        result.save("")

    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "no", str(self))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: '.*/y\.nc'$"):
        result.save(tmp_path / "y.nc")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_through_a_link_that_was_planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "precious").write_text("years of work")
    names = []
    for number in range(3):
        with replacing(tmp_path / "result.nc") as unfinished:
            names.append(unfinished.name)
            unfinished.write_text(str(number))
    assert len({*names}) == 3
    monkeypatch.setattr("secrets.token_hex", lambda _: "0" * 32)
    (tmp_path / f".dla-{'0' * 32}.part").symlink_to(tmp_path / "precious")
    with pytest.raises(FileExistsError, match=r"File exists: '.*/result\.nc'$"):
        attribution("When Mary").save(tmp_path / "result.nc")
    assert (tmp_path / "precious").read_text() == "years of work"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no file '.*nothing\.nc'"):
        dla.load(tmp_path / "nothing.nc")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        dla.load(tmp_path)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "result.nc"
    torch.save({"values": torch.zeros(3)}, path)
    with pytest.raises(dla.FileFormatError):
        dla.load(path)


def test_no_part_of_the_library_pickles() -> None:
    folder = Path(dla.__file__).parent
    for path in folder.rglob("*.py"):
        text = path.read_text()
        assert "import pickle" not in text, path
        assert "torch.save(" not in text, path


def test_results_of_two_models_do_not_mix(tmp_path: Path) -> None:
    for name, subject in (("gpt2", GPT2), ("llama", LLAMA)):
        found = dla.Attributor(subject.model(), dla.HeadDecomposer()).attribute(some_tokens(17), dla.Logit(9))
        found.save(tmp_path / f"{name}.nc")
    assert dla.load(tmp_path / "gpt2.nc").labels != dla.load(tmp_path / "llama.nc").labels

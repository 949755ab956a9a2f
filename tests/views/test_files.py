"""Attributions on disk: what comes back is what was saved; what is not ours, or not whole, is refused."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from assertions import assert_identical
from subjects import GPT2, LLAMA, each_decomposer, some_tokens

import dla
from dla.testing import TinyModel
from dla.testing.models import PROMPT

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
    with pytest.raises(dla.FileFormatError, match=r"text\.nc' is not an attribution saved by this library"):
        dla.load(text)
    with pytest.raises(dla.FileFormatError, match=r"not an attribution \(format None\)"):
        dla.load(netcdf)
    xr.Dataset(attrs={"format": "dla.attribution/99"}).to_netcdf(netcdf, engine="h5netcdf")
    with pytest.raises(dla.FileFormatError, match=r"format 'dla\.attribution/99'"):
        dla.load(netcdf)


def test_a_file_of_ours_that_lacks_a_variable_or_has_a_broken_record(tmp_path: Path) -> None:
    data, path = attribution().to_xarray(), tmp_path / "result.nc"
    broken = [data.drop_vars(name) for name in ("values", "total", "tolerance", "kind", "position_in_prompt")]
    broken += [data.assign_attrs(provenance=record) for record in ("{", "[]", '{"tokens": []}')]
    broken.append(data.copy())
    del broken[-1].attrs["provenance"]
    for dataset in broken:
        dataset.to_netcdf(path, engine="h5netcdf")
        with pytest.raises(dla.FileFormatError):
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
        ("y.html", r"For a \.html file use to_dataframe\(\)\.to_html\('y\.html'\)"),
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

    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "no", str(self))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError, match=r"Permission denied: '.*/y\.nc'$"):
        result.save(tmp_path / "y.nc")
    assert list(tmp_path.iterdir()) == []


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

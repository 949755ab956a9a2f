"""A folder is resumed by the call that began it, and by no other."""

import signal
import time
from inspect import unwrap

import numpy as np
import pytest
import torch
from sweep_process import SweepProcess
from sweep_subjects import Altered, attributor, by_heads, frame, rows, write_lines

import dla
import dla.demo
from dla.adapters.fingerprints import fingerprint


@pytest.fixture
def begun(heads, tmp_path):
    """A sweep's folder."""
    dla.sweep(frame(6), heads, tmp_path / "out", limit=5)
    return tmp_path / "out"


def changed_weight():
    model = dla.demo.load_small("raw")
    with torch.no_grad():
        next(model.parameters()).view(-1)[5] += 1e-6
    return by_heads(model)


def in_double():
    return by_heads(dla.demo.load_small("raw").to(torch.float64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attributor": changed_weight}, "the model's weights differ"),
        ({"attributor": in_double}, "the model's weights differ .*float32, .* there, .*float64"),
        (
            {"attributor": lambda: attributor(dla.BlockDecomposer())},
            "the parts differ .HeadDecomposer.*BlockDecomposer",
        ),
        ({"attributor": lambda: attributor(check="warn")}, "check was 'raise' and is 'warn'"),
        ({"corpus": frame(7)}, "the corpus differs .6 rows, .* there, 7 rows"),
        ({"corpus": frame(6)[::-1].reset_index(drop=True)}, "the corpus differs"),
        ({"corpus": frame(6).replace("ABBA", "abba")}, "the corpus differs"),
        ({"limit": 6}, "limit was 5 and is 6"),
        ({"limit": None}, "limit was 5 and is None"),
        ({"window": 3}, "window was 1024 and is 3"),
        ({"batch_tokens": 99}, "batch_tokens was 8192 and is 99"),
        ({"prepend_bos": False}, "prepend_bos was None and is False"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_another_call_is_refused(heads, begun, change, message):
    given = {"corpus": frame(6), "limit": 5, **change}
    by = given.pop("attributor", lambda: heads)()
    with pytest.raises(ValueError, match=f"holds a sweep of something else: .*{message}.*Pass another folder"):
        dla.sweep(given.pop("corpus"), by, begun, **given)
    assert dla.sweep(frame(6), heads, begun, limit=5).complete


def test_groups_with_other_members_are_other_parts(tmp_path):
    def by(*members):
        return attributor(dla.GroupDecomposer(dla.HeadDecomposer(), {"movers": list(members)}))

    dla.sweep(frame(2), by("L1H1", "L1H2", "L0H0"), tmp_path)
    assert dla.sweep(frame(2), by("L0H0", "L1H1", "L1H2"), tmp_path).complete
    with pytest.raises(ValueError, match="the parts differ"):
        dla.sweep(frame(2), by("L1H1", "L1H2", "L0H1"), tmp_path)


def test_the_same_model_and_corpus_elsewhere_resume_it(heads, tmp_path):
    corpus = write_lines(tmp_path / "a.jsonl", rows(4))
    dla.sweep(corpus, heads, tmp_path / "out")
    moved = corpus.rename(tmp_path / "b.jsonl")
    (tmp_path / "out").rename(tmp_path / "there")
    assert dla.sweep(moved, attributor(), tmp_path / "there").complete


def test_a_second_process_is_refused(heads, tmp_path):
    corpus = write_lines(tmp_path / "c.jsonl", rows(1500))
    process = SweepProcess(corpus=corpus, out=tmp_path / "out", batch_tokens=64)
    while not (tmp_path / "out" / "manifest.json").exists():
        time.sleep(0.01)
    with pytest.raises(dla.DLAError, match=f"Another process .pid {process.pid}. is sweeping into .*Wait for it"):
        dla.sweep(corpus, heads, tmp_path / "out", batch_tokens=64)
    process.end(by=signal.SIGKILL)
    with pytest.raises(ValueError, match="batch_tokens was 64 and is 8192"):  # the lock went with the process
        dla.sweep(corpus, heads, tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit=0: ask for at least one row"),
        ({"batch_tokens": 0}, "batch_tokens=0: ask for at least one token"),
        ({"engine": dla.RayEngine}, "engine=the class RayEngine; pass one of"),
        ({"window": -1}, "window=-1: ask for at least one row"),
        ({"engine": "spark"}, r"engine='spark'; pass one of \['local', 'ray'\]"),
    ],
)
def test_options_that_cannot_be(heads, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        unwrap(dla.sweep)(frame(2), heads, tmp_path / "out", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": True}, "limit=True is not a whole number. Pass how many"),
        ({"limit": 2.0}, "limit=2.0 is not a whole number"),
        ({"batch_tokens": "64"}, "batch_tokens='64' is not a whole number"),
        ({"window": None}, "window=None is not a whole number"),
        ({"prepend_bos": 1}, "prepend_bos=1; pass True, False or None, which is the model"),
        (
            {"attributor": dla.Attributor},
            "The attributor is the class Attributor. Pass an Attributor of a model",
        ),
        ({"attributor": None}, "The attributor is None. Pass an Attributor"),
        ({"out": 3}, r"The path of the folder to write is 3\. Pass it as a text or a pathlib\.Path"),
    ],
)
def test_arguments_of_another_type(heads, tmp_path, options, message):
    given = {"corpus": frame(2), "attributor": heads, "out": tmp_path / "out", **options}
    with pytest.raises(TypeError, match=message):
        unwrap(dla.sweep)(**given)  # without the checks that the test-suite adds
    assert not (tmp_path / "out").exists()


def test_whole_numbers_of_numpy_are_whole_numbers(heads, tmp_path):
    assert unwrap(dla.sweep)(frame(3), heads, tmp_path, limit=np.int64(2)).manifest["settings"]["limit"] == 2


def test_a_folder_with_other_things_is_left_alone(heads, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds other things \('thesis.tex'\) and no sweep. Pass a new folder"):
        dla.sweep(frame(2), heads, tmp_path)
    with pytest.raises(ValueError, match="is a file. Pass the name of a folder"):
        dla.sweep(frame(2), heads, tmp_path / "thesis.tex")
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_that_is_refused_stays_as_it_was(heads, begun):
    (begun / ".lock").unlink()
    before = {file: file.read_bytes() for file in begun.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match="the corpus differs"):
        dla.sweep(frame(7), heads, begun, limit=5)
    assert {file: file.read_bytes() for file in begun.rglob("*") if file.is_file()} == before


def test_a_folder_without_a_name(heads, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="The path of the folder to write is ''. Pass the name of one"):
        dla.sweep(frame(2), heads, "")
    for read in (dla.open_sweep, dla.Summary.load):
        with pytest.raises(ValueError, match="The path of a sweep's folder is ''. Pass the name of one"):
            read("")
    assert list(tmp_path.iterdir()) == []


def test_no_file_of_another_is_written_through_a_link(heads, tmp_path):
    (tmp_path / "precious").write_text("years of work")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".owner").symlink_to(tmp_path / "precious")
    assert dla.sweep(frame(2), heads, tmp_path / "out").complete
    assert (tmp_path / "precious").read_text() == "years of work"


@pytest.mark.parametrize("package", ["pyarrow", "ray"])
def test_a_missing_package_is_named_with_its_extra(heads, tmp_path, monkeypatch, package):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    extra = {"pyarrow": r"dla\[sweep\]", "ray": r"dla\[ray\]"}[package]
    with pytest.raises(dla.MissingPackageError, match=f"not installed: pip install '{extra}'"):
        dla.sweep(frame(2), heads, tmp_path, engine="ray")


def test_folders_that_are_none(tmp_path, heads):
    with pytest.raises(dla.FileFormatError, match=r"is not a sweep's folder: it has no manifest.json"):
        dla.open_sweep(tmp_path)
    for contents, message in (
        ("{", "was not written by this library, or is damaged"),
        ("[]", "its format is None and this library reads 'dla.sweep/5'"),
        ('{"format": "dla.sweep/1"}', "its format is 'dla.sweep/1'.* Delete the folder, and sweep again"),
        ('{"format": "dla.sweep/5"}', "it does not begin with a checksum"),
    ):
        (tmp_path / "manifest.json").write_text(contents)
        with pytest.raises(dla.FileFormatError, match=message):
            dla.open_sweep(tmp_path)


def test_the_fingerprint_of_weights_sees_every_bit():
    model = dla.demo.load_small("raw")
    told = fingerprint(dla.adapt(model))
    assert told == fingerprint(dla.adapt(dla.demo.load_small("raw")))
    assert told != fingerprint(dla.adapt(dla.demo.load_small("bridge")))
    for parameter in model.parameters():
        with torch.no_grad():
            last = (-1,) * parameter.ndim
            before = parameter[last].clone()
            parameter[last] = torch.nextafter(before, before + 1)
            assert fingerprint(dla.adapt(model)) != told
            parameter[last] = before
    assert fingerprint(dla.adapt(model)) == told


def test_the_fingerprint_of_another_adapter_is_that_of_its_readout():
    altered = Altered()
    assert fingerprint(altered) == fingerprint(Altered())
    assert fingerprint(altered) != fingerprint(altered._model)

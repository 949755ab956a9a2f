"""A saved result with its model: it answers the questions of a new one, of that model only."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr
from assertions import assert_identical
from dictionaries import RandomFeatures
from subjects import GPT2, LLAMA, needs_hooked_transformer

import dla
import dla.demo
from dla.testing import TinyModel
from dla.testing.models import PROMPT
from dla.views.dataset import OLDER_FORMAT
from dla.views.files import write_dataset

DIFFERENCE = dla.LogitDifference(" Mary", " John")
TWO = {"half \ud800": DIFFERENCE, "probability": dla.LogProbability(" Mary")}
HEAD = "L1H1"


@pytest.fixture(scope="module")
def model() -> Any:
    return GPT2.model()


def saved(result: dla.Attribution, path: Path) -> Path:
    result.save(path / "result.nc")
    return path / "result.nc"


def close(actual: torch.Tensor, expected: torch.Tensor, result: dla.Attribution) -> None:
    """As close as the two ways of rounding in `result` allow."""
    allowed = 4 * result.tolerance.nan_to_num() + 1e-6 * expected.abs().nan_to_num()
    assert bool(((actual - expected).abs().nan_to_num() <= allowed).all())


ASKED: dict[str, tuple[Any, Any, Any]] = {
    "a difference": (PROMPT, DIFFERENCE, -1),
    "two directions, prompts of two lengths": ([PROMPT, "When Mary and"], TWO, None),
    "top tokens": ([PROMPT, PROMPT], dla.TopTokens(3), [0, -1]),
    "a vector in the middle": (PROMPT, dla.ResidualVector(torch.ones(24), at="blocks.1.hook_resid_pre"), -1),
}


@pytest.mark.spine
@pytest.mark.parametrize("asked", ASKED)
def test_a_loaded_result_answers_as_the_one_that_was_saved(asked: str, model: Any, tmp_path: Path) -> None:
    prompts, direction, pos = ASKED[asked]
    if isinstance(direction, dla.ResidualVector):
        direction = dla.ResidualVector(torch.linspace(-1, 1, model.cfg.d_model), at="blocks.1.hook_resid_pre")
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(prompts, direction, pos=pos)
    file = saved(result, tmp_path)
    loaded = dla.load(file, model=model)
    assert_identical(loaded, result)
    finer, again = (one.refine("L0H1", by=dla.SourceDecomposer(layers=[0])) for one in (result, loaded))
    assert finer.labels == again.labels
    close(again.values, finer.values, result)
    if not isinstance(direction, dict | dla.TopTokens):
        vectors = [one.part("L0H0").vector() for one in (loaded, result)]
        torch.testing.assert_close(*vectors, rtol=1e-5, atol=1e-6)
    assert dla.load(file).rerun is None


def test_effects_traces_and_caveats_of_a_loaded_result(model: Any, tmp_path: Path) -> None:
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(PROMPT, DIFFERENCE)
    loaded = dla.load(saved(result, tmp_path), model=model)
    torch.testing.assert_close(loaded.effects([HEAD]).measured_effects, result.effects([HEAD]).measured_effects)
    traced = [one.trace(HEAD, by=dla.HeadDecomposer()) for one in (result, loaded)]
    close(traced[1].values, traced[0].values, traced[0])
    assert str(loaded.caveats()) == str(result.caveats())
    assert loaded.direct_effects().labels == result.direct_effects().labels


def test_a_refined_result_comes_back_refined(model: Any, tmp_path: Path) -> None:
    mixed = dla.HeadDecomposer() | dla.NeuronDecomposer(layers=range(1), top_k=3)
    result = dla.Attributor(model, mixed).attribute(PROMPT, DIFFERENCE)
    finer = result.refine(HEAD, by=dla.SourceDecomposer(layers=[1])).refine("1_mlp_out", by=dla.NeuronDecomposer())
    loaded = dla.load(saved(finer, tmp_path), model=model)
    assert_identical(loaded, finer)
    last = loaded.refine("L0H0", by=dla.SourceDecomposer())
    assert {"L1N0", f"{HEAD} ← 0"} <= {label.rsplit(" '", 1)[0] for label in last.labels}
    assert HEAD not in last.labels


def test_a_selection_and_one_of_two_directions(model: Any, tmp_path: Path) -> None:
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(PROMPT, TWO)
    saved(result, tmp_path)
    for one in (result.direction("probability"), dla.load(tmp_path / "result.nc").direction("probability")):
        one.select(kind="head").save(tmp_path / "one.nc")
        loaded = dla.load(tmp_path / "one.nc", model=model)
        finer = loaded.refine(HEAD, by=dla.SourceDecomposer())
        close(finer.total, loaded.total, loaded)


def test_what_was_read_without_the_model_can_be_saved_again(model: Any, tmp_path: Path) -> None:
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(PROMPT, DIFFERENCE)
    dla.load(saved(result, tmp_path)).save(tmp_path / "again.nc")
    assert dla.load(tmp_path / "again.nc", model=model).refine(HEAD, by=dla.SourceDecomposer()).labels


def test_rows_of_dictionaries_need_the_attributor(model: Any, tmp_path: Path) -> None:
    attributor = dla.Attributor(model, RandomFeatures())
    file = saved(attributor.attribute(PROMPT, DIFFERENCE), tmp_path)
    with pytest.raises(ValueError, match=r"are of RandomFeatures, with a dictionary.* Pass dla.Attributor\(model, Ran"):
        dla.load(file, model=model)
    assert dla.load(file, model=attributor).rerun is not None
    with pytest.raises(ValueError, match=r"are of RandomFeatures, and the attributor's decomposer is HeadDecomposer\("):
        dla.load(file, model=dla.Attributor(model, dla.HeadDecomposer()))


def changed(model: Any) -> Any:
    """One bit of one weight."""
    weight = model.blocks[0].attn.W_O if hasattr(model.blocks[0].attn, "W_O") else next(model.parameters())
    with torch.no_grad():
        weight.view(-1)[0] += 1e-3
    return model


OTHERS: dict[str, tuple[Callable[[], Any], str]] = {
    "another": (LLAMA.model, r"another model: the model's weights differ \(.*, float32, [0-9a-f]{8} there"),
    "another seed": (lambda: TinyModel("gpt2", seed=7).model(), "the model's weights differ"),
    "another precision": (lambda: TinyModel("gpt2", dtype=torch.float64).model(), "weights differ .*float64.* here"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_model_is_refused_and_told(other: str, model: Any, tmp_path: Path) -> None:
    make, message = OTHERS[other]
    file = saved(dla.Attributor(model, dla.HeadDecomposer()).attribute(PROMPT, DIFFERENCE), tmp_path)
    with pytest.raises(
        dla.RunChangedError, match=rf"result\.nc' comes from {message if 'another m' in message else ''}"
    ):
        dla.load(file, model=make())
    with pytest.raises(dla.RunChangedError, match=message):
        dla.load(file, model=make())


def test_one_weight_changed_since(tmp_path: Path) -> None:
    model = GPT2.model()
    file = saved(dla.Attributor(model, dla.HeadDecomposer()).attribute(PROMPT, DIFFERENCE), tmp_path)
    dla.load(file, model=model)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    with pytest.raises(dla.RunChangedError, match="the model's weights differ"):
        dla.load(file, model=model)


def test_an_epsilon_changed_since(tmp_path: Path) -> None:
    model = GPT2.model()
    file = saved(dla.Attributor(model, dla.HeadDecomposer()).attribute(PROMPT, DIFFERENCE), tmp_path)
    norm = next(m for m in model.modules() if isinstance(m, torch.nn.LayerNorm))
    norm.eps *= 2
    with pytest.raises(dla.RunChangedError, match=r"the model's .*eps is .* there and .* here"):
        dla.load(file, model=model)


def test_a_hook_that_was_not_there(model: Any, tmp_path: Path) -> None:
    attributor = dla.Attributor(model, dla.HeadDecomposer())
    file = saved(attributor.attribute(PROMPT, DIFFERENCE), tmp_path)
    with (
        model.hooks(fwd_hooks=[("blocks.1.attn.hook_z", lambda z, hook: 0.5 * z)]),
        pytest.raises(dla.RunChangedError, match=r"does not compute what .* logit was .* then: none; now: blo"),
    ):
        dla.load(file, model=model)


def test_a_run_under_hooks_comes_back_under_them(model: Any, tmp_path: Path) -> None:
    attributor = dla.Attributor(model, dla.HeadDecomposer())
    with model.hooks(fwd_hooks=[("blocks.1.hook_resid_pre", lambda resid, hook: 0.5 * resid)]):
        result = attributor.attribute(PROMPT, DIFFERENCE)
        file = saved(result, tmp_path)
        assert_identical(dla.load(file, model=model), result)
    with pytest.raises(dla.RunChangedError, match=r"rows that the model does not have now \(edit blocks.1.hook_res"):
        dla.load(file, model=model)


def test_what_cannot_be_asked_again(model: Any, tmp_path: Path) -> None:
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(PROMPT, DIFFERENCE)
    edits = [dla.Edit(HEAD, dla.Zero())]
    edited = dla.Attributor(model, dla.HeadDecomposer()).attribute(PROMPT, DIFFERENCE, edits=edits)
    for one, why in (
        (result.group_by("layer"), "Its rows were grouped. Save the result before group_by"),
        (result.trace(HEAD, by=dla.HeadDecomposer()), "It is a trace"),
        (result.trace_back(), "an older version"),
        (edited, "Its run was edited"),
    ):
        file = saved(one, tmp_path)
        dla.load(file)
        with pytest.raises(ValueError, match=rf"does not say all .*{why}"):
            dla.load(file, model=model)


def test_a_file_of_an_older_version_has_its_numbers(model: Any, tmp_path: Path) -> None:
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(PROMPT, DIFFERENCE)
    write_dataset(result.to_xarray().assign_attrs(format=OLDER_FORMAT), tmp_path / "old.nc")
    assert_identical(dla.load(tmp_path / "old.nc"), result)
    with pytest.raises(ValueError, match=r"old\.nc' does not say all .* older version, which did not note .* fingerpr"):
        dla.load(tmp_path / "old.nc", model=model)


def test_a_question_that_was_edited(model: Any, tmp_path: Path) -> None:
    saved(dla.Attributor(model, dla.HeadDecomposer()).attribute(PROMPT, DIFFERENCE), tmp_path)
    with xr.open_dataset(tmp_path / "result.nc", engine="h5netcdf") as data:
        whole = data.load()
    for text in ("no base64", "AAAA", json.dumps({})):
        write_dataset(whole.assign(question=text), tmp_path / "edited.nc")
        with pytest.raises(dla.FileFormatError, match="was edited"):
            dla.load(tmp_path / "edited.nc")


@needs_hooked_transformer
def test_the_other_model_class_is_another_model(tmp_path: Path) -> None:
    hooked = dla.demo.load_small("hooked")
    file = saved(dla.Attributor(hooked, dla.HeadDecomposer()).attribute(PROMPT, DIFFERENCE), tmp_path)
    dla.load(file, model=hooked)
    with pytest.raises(dla.RunChangedError, match="the model's weights differ"):
        dla.load(file, model=dla.demo.load_small("raw"))


def test_an_answer_of_several_tokens_is_asked_again(tmp_path: Path) -> None:
    result = dla.Attributor(GPT2.model(), dla.HeadDecomposer()).attribute(PROMPT, dla.Continuation(" Mary John"))
    result.save(tmp_path / "answer.nc")
    again = dla.load(tmp_path / "answer.nc", model=GPT2.model())
    pieces = [each.refine("L1H1", by=dla.SourceDecomposer()).values for each in (result, again)]
    assert torch.equal(*pieces)
    dla.load(tmp_path / "answer.nc")[0].save(tmp_path / "one.nc")
    with pytest.raises(ValueError, match="does not say all that is needed to ask the model again"):
        dla.load(tmp_path / "one.nc", model=GPT2.model())

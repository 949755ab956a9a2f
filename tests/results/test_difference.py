"""Two results side by side: the differences, their proof, and their split, by hand."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import xarray

import dla
import dla.demo
from dla.testing import TinyModel
from dla.testing.assertions import assert_close
from dla.testing.laws.compare import sum_size
from tests.subjects import GPT2, each_class, params, some_tokens

HEADS, TOKENS = dla.HeadDecomposer(), some_tokens(1)
PROMPT = "When Mary and John went to the store , John gave a drink to"


def read_direction(result: dla.Attribution, model: Any, token: int) -> torch.Tensor:
    """`d̂` by hand: the column through the norm's weight and centring, divided by the measured scale."""
    norm = model.ln_final
    weight = getattr(norm, "weight", None)
    weight = getattr(norm, "w", None) if weight is None else weight
    column = model.unembed.W_U[:, token] * (1.0 if weight is None else weight)
    column = column - column.mean() if hasattr(norm, "bias") or hasattr(norm, "b") else column
    assert result.rerun is not None
    assert result.rerun.scale is not None
    return column.detach() / result.rerun.scale[..., None]


@pytest.mark.parametrize("subject", params([GPT2, TinyModel("llama")]))
def test_rows_differ_by_what_is_written_and_by_how_it_is_read(subject: TinyModel) -> None:
    """Two models of one architecture: each piece is the product of vectors, taken one by one."""
    first, second = subject.model(), TinyModel(subject.name, seed=1).model()
    one, other = (dla.Attributor(model, HEADS).attribute(TOKENS, dla.Logit(5)) for model in (first, second))
    difference = dla.compare(one, other)
    assert torch.equal(difference.values, one.values - other.values)
    assert_close(
        difference.values.sum(0) + one.constant - other.constant,
        difference.logit,
        sum_size(one) + sum_size(other),
        subject.eps,
    )
    split = difference.split()
    assert split.written is not None
    assert split.read is not None
    ours = read_direction(one, first, 5)
    for i, label in enumerate(split.labels):
        mine, theirs = one.part(label).vector(), other.part(label).vector()
        assert_close(split.written[i], ((mine - theirs) * ours).sum(-1)[:, 0], sum_size(one), 16 * subject.eps, label)
    assert_close(split.written + split.read, split.values, sum_size(one), subject.eps)


@each_class
def test_a_result_minus_itself_is_nothing(subject: TinyModel) -> None:
    result = dla.Attributor(subject.model(), HEADS).attribute(TOKENS, dla.Logit(5), pos=[0, 3])
    split = (result - result).split()
    assert split.written is not None
    assert float(split.values.abs().max()) == 0
    assert bool((split.written.abs() <= result.tolerance).all())


def test_before_and_after_an_edit() -> None:
    attributor = dla.Attributor(GPT2.model(), HEADS)
    plain = attributor.attribute(TOKENS, dla.Logit(5))
    edit = dla.Edit("blocks.1.hook_resid_pre", dla.Add(torch.sin(torch.arange(32.0))))
    edited = attributor.attribute(TOKENS, dla.Logit(5), edits=[edit])
    difference = edited - plain
    added = difference.labels.index("edit blocks.1.hook_resid_pre")
    assert torch.equal(difference.values[added], edited.select("edit blocks.1.hook_resid_pre").values[0])
    assert float(difference.right[added].abs().max()) == 0
    split = difference.split()
    assert split.written is not None
    early = difference.labels.index("L0H1")
    assert float(split.written[early].abs().max()) <= float(plain.tolerance.max())
    assert float(difference.values[early].abs().max()) > 1e-4  # it is read on another scale
    assert repr(difference).startswith("Difference(edited: blocks.1.hook_resid_pre (Add) minus not edited")
    assert "edited: blocks.1.hook_resid_pre (Add)" in str(edited)


def test_sources_are_found_by_their_position() -> None:
    attributor = dla.Attributor(GPT2.model(), dla.SourceDecomposer())
    one, other = (attributor.attribute(some_tokens(seed, 1), dla.Logit(5)) for seed in (1, 2))
    difference = one - other
    assert len(difference.parts) == len(one.parts)
    assert "L0H1 ← 2" in difference.labels
    place = one.labels.index(next(label for label in one.labels if label.startswith("L0H1 ← 2")))
    assert torch.equal(difference.values[place], one.values[place] - other.values[place])


def test_frames_files_and_several_directions(tmp_path: Any) -> None:
    attributor = dla.Attributor(GPT2.model(), HEADS)
    asked = {"one": dla.Logit(5), "two": dla.Logit(6)}
    prompts = [some_tokens(8, 1, 6)[0], some_tokens(9, 1, 4)[0]]
    first = attributor.attribute(prompts, asked, pos=None)
    second = attributor.attribute([prompts[0].flip(0), prompts[1].flip(0)], asked, pos=None)
    difference = (first - second).split()
    frame = difference.to_dataframe()
    assert len(frame) == int((~difference.values.isnan()).sum())
    torch.testing.assert_close(
        torch.tensor(frame.written + frame.read), torch.tensor(frame.difference), atol=1e-5, rtol=0
    )
    difference.save(tmp_path / "d.nc")
    with xarray.open_dataset(tmp_path / "d.nc", engine="h5netcdf") as data:
        assert data.attrs["format"] == "dla.difference/1"
        assert set(data) == {"first", "second", "difference", "written", "read"}
    with pytest.raises(dla.FileFormatError):
        dla.load(tmp_path / "d.nc")
    assert str(difference).count("written differently") == 2
    one = difference.direction("two")
    assert torch.equal(one.values.nan_to_num(), difference.values[:, 1].nan_to_num())
    assert "<table>" in one._repr_html_()


def test_what_cannot_be_compared_is_refused() -> None:
    model = GPT2.model()
    heads, plain = dla.Attributor(model, HEADS), dla.Logit(5)
    result = heads.attribute(TOKENS, plain)
    lens = dla.Attributor(model, dla.LensDecomposer()).attribute(TOKENS, plain)
    wrong: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: result - 3, TypeError, "3 is no Attribution."),
        (lambda: dla.compare(result, "a"), TypeError, "compare takes two attributions or two summaries"),
        (lambda: result - lens, ValueError, "The rows of one are additive and of the other lens."),
        (lambda: result - heads.attribute(TOKENS, plain, pos=None), ValueError, "Ask both at as many positions"),
        (lambda: result - heads.attribute(TOKENS, {"a": plain}), ValueError, "The directions of one are a single one"),
        (lambda: result.select("L0H0") - result.select("L1H0"), ValueError, "have no part in common"),
        (lambda: (lens - lens).split(), ValueError, "none is a part whose vector could be read"),
    ]
    for ask, error, message in wrong:
        with pytest.raises(error, match=re.escape(message)):
            ask()
    wide = dla.Attributor(dla.demo.load_small("raw"), HEADS).attribute(PROMPT, dla.Logit(5))
    narrow = heads.attribute(TOKENS[:1], dla.Logit(5))
    with pytest.raises(ValueError, match="no direction of one can read the other"):
        (wide - narrow).split()

"""What a page's file holds: the result's numbers, nothing to fetch, nothing that a text could run."""

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from page_samples import HOSTILE, sample_page
from subjects import GPT2, some_tokens

import dla
import dla.demo
from dla.adapters.loading import load_model
from dla.provenance import model_name
from dla.testing.models import PROMPT
from dla.views.page.document import page_html
from dla.views.page.encoding import base64_of, script_json
from dla.views.page.page_data import HeadSources
from dla.views.page.result_page import MOST_NUMBERS, page_of

DIFFERENCE = dla.LogitDifference(" Mary", " John")


def attribution(prompts: object = PROMPT, decomposer: dla.Decomposer | None = None, **options: Any) -> dla.Attribution:
    return dla.Attributor(GPT2.model(), decomposer or dla.HeadDecomposer()).attribute(prompts, DIFFERENCE, **options)


def held(file: Path) -> dict[str, Any]:
    """What the script of a page reads."""
    text = file.read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text.partition('id="data">')[2].partition("</script>")[0])
    return found


def numbers(text: str, dtype: str, *shape: int) -> Any:
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


def test_a_page_holds_the_result(tmp_path: Path) -> None:
    result = attribution([PROMPT, "When Mary"], pos=None)
    result.report(tmp_path / "a.html")
    data = held(tmp_path / "a.html")
    assert data["labels"] == result.labels
    there = result.positions >= 0
    places = [[int(i), int(result.positions[i, j])] for i, j in there.nonzero()]
    assert data["places"] == places
    values = numbers(data["values"]["data"], "<f4", len(places), len(result.parts))
    torch.testing.assert_close(torch.tensor(values), result.values[:, there].T)
    logit = numbers(data["sums"]["logit"], "<f8", len(places))
    torch.testing.assert_close(torch.tensor(logit).float(), result.logit[there])
    assert numbers(data["means"], "<f4", len(result.parts)) == pytest.approx(
        [value for label in result.labels for name, value in result.top(99) if name == label], abs=1e-5
    )


def test_sources_and_promoted_tokens_are_those_of_a_closer_look(tmp_path: Path) -> None:
    result = attribution([PROMPT, PROMPT.replace("Mary", "Tom"), "When Mary went to"])
    result.report(tmp_path / "a.html", sources=3, promoted=4)
    data = held(tmp_path / "a.html")
    rows, width = data["sources"]["rows"], data["sources"]["width"]
    sources = numbers(data["sources"]["data"], "<f4", len(rows), 3, width)
    bias = numbers(data["sources"]["bias"], "<f4", len(rows), 3)
    sizes = {label: float(values.abs().max()) for label, values in zip(result.labels, result.values, strict=True)}
    heads = [str(part) for part in result.parts if part.kind == "head"]
    assert [data["labels"][i] for i in rows] == sorted(heads, key=lambda label: -sizes[label])[:3]
    for place, i in enumerate(rows):
        label = data["labels"][i]
        finer = result.refine(label, by=dla.SourceDecomposer()).select(
            where=lambda part, i=i: part.parent == result.parts[i]
        )
        for part, values in zip(finer.parts, finer.values, strict=True):
            found = bias[place] if part.source is None else sources[place, :, part.source]
            known = ~np.isnan(found)
            assert known.tolist() == [part.source is None or part.source < len(tokens) for tokens in result.tokens]
            np.testing.assert_allclose(found[known], values.numpy()[known], atol=1e-5)
        effects = result.part(label).top_tokens(4)
        for end in ("up", "down"):
            told, expected = data["promoted"][str(i)][end], getattr(effects, end)
            assert [token for token, _ in told] == [token for token, _ in expected]
            assert [value for _, value in told] == pytest.approx([value for _, value in expected])


def test_no_file_tells_in_which_folder_a_model_lies(tmp_path: Path) -> None:
    model = load_model(str(shutil.copytree(dla.demo.FOLDER, tmp_path / "private" / "small")))
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute("When Mary", dla.Logit(" Mary"))
    assert result.provenance.model == "small"
    out = tmp_path / "out"
    out.mkdir()
    result.report(out / "a.html", sources=2, promoted=2)
    result.save(out / "a.nc")
    dla.graph(result).save(out / "a.json")
    (out / "rows.json").write_text(result.to_json())
    rows = pd.DataFrame({"prompt": ["When Mary"], "answer": [" Mary"]})
    dla.sweep(rows, dla.Attributor(model, dla.HeadDecomposer()), out / "sweep")
    for file in out.rglob("*"):
        assert not file.is_file() or b"private" not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("given", "told"),
    [
        *(("gpt2", "gpt2"), ("owner/model", "owner/model"), ("/home/me/llama", "llama"), ("./llama/", "llama")),
        *(("~/models/llama", "llama"), ("a/b/llama", "llama"), ("C:\\me\\llama", "llama"), ("/", "/")),
    ],
)
def test_the_name_of_a_model_is_no_path(given: str, told: str) -> None:
    assert model_name(given) == told


def test_what_cannot_be_computed_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No row is a head, so there is nothing to say of what heads read"):
        attribution(decomposer=dla.BlockDecomposer()).report(tmp_path / "a.html", sources=2)
    attribution().save(tmp_path / "a.nc")
    loaded = dla.load(tmp_path / "a.nc")
    loaded.report(tmp_path / "a.html")
    with pytest.raises(ValueError, match="report runs the model again, and this result was read from a file"):
        loaded.report(tmp_path / "a.html", promoted=2)
    with pytest.raises(
        ValueError, match=r"'a.csv' has the ending of another format, and what is written is an HTML page"
    ):
        loaded.report(tmp_path / "a.csv")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        loaded.report(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        loaded.report(tmp_path / "no" / "a.html")


def test_a_page_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.html"
    file.write_text("the old one")

    def full(self: Path, text: str, encoding: str) -> int:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            attribution().report(file)
    assert file.read_text() == "the old one"
    attribution().report(file)
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_text_ends_its_block(text: str) -> None:
    found = script_json({"a": [text], text: 1})
    assert not set(found) & set("<>&\u2028\u2029\x00\x1b\u202e")
    found.encode("utf-8")
    json.loads(found)


def test_the_file_allows_only_its_own_script_and_styles() -> None:
    html = page_html(sample_page(1, 2, HOSTILE, title=HOSTILE[0]), "<table></table>")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (own,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert html.count("<script") == html.count("</script>") == 2
    assert "innerHTML" not in html


def test_sizes(tmp_path: Path) -> None:
    own = page_html(sample_page(0, 0, []), "")
    assert len(own.encode()) < 80_000
    full = sample_page(80, 64, [f" word{i}" for i in range(2000)])
    kept = MOST_NUMBERS // 2000
    noise = np.random.default_rng(0).standard_normal
    sums = {name: noise((1, 2000)) for name in full.sums}
    most = replace(
        full,
        places=[(0, i) for i in range(2000)],
        values=noise((1, 2000, kept)),
        rows=list(range(kept)),
        sums=sums,
        sources=HeadSources(tuple(range(kept)), noise((1, kept, 1, 2000)), np.zeros((1, kept, 1))),
    )
    assert len(page_html(most, "").encode()) < 5_000_000
    small = page_html(sample_page(12, 12, [f" word{i}" for i in range(100)], sources=64), "")
    assert len(small.encode()) < 1_000_000


def test_a_page_that_would_be_too_large_keeps_all_means_and_says_what_it_left_out() -> None:
    result = attribution(some_tokens(1, 1, 6), pos=None)
    parts = tuple(dla.Label("head", i // 64, i % 64) for i in range(80 * 64))
    values = torch.randn(len(parts), 1, 2000)
    sums = {name: torch.zeros(1, 2000) for name in ("total", "constant", "logit", "output_logit", "tolerance")}
    tokens = (tuple(f"t{i}" for i in range(2000)),)
    provenance = replace(result.provenance, tokens=tokens)
    positions = torch.arange(2000)[None]
    large = replace(result, parts=parts, values=values, positions=positions, provenance=provenance, rerun=None, **sums)
    data = page_of(large, None, None)
    assert data.rows is not None
    assert len(data.rows) == MOST_NUMBERS // 2000
    assert len(data.means[0]) == len(parts)
    left = [i for i in range(len(parts)) if i not in {*data.rows}]
    told = float(values[left].double().mean(-1).sum())
    assert data.notes == (
        f"Of {len(left)} weaker rows only the means are kept; those sum to {told:+.4f}. "
        f"The {len(data.rows)} strongest are told position by position.",
    )
    assert len(page_html(data, "").encode()) < 5_000_000
    both = replace(provenance, directions=("a", "b"))
    doubled = {name: torch.zeros(2, 1, 2000) for name in sums}
    several = replace(large, values=torch.stack([values, -values], 1), provenance=both, **doubled)
    assert re.search(
        r"those sum to (.)\d\S* for a, (?!\1).\d\S* for b\. The 100 strongest", page_of(several, None, None).notes[0]
    )


def test_odd_results_have_a_page(tmp_path: Path) -> None:
    result = attribution()
    holed = replace(result, values=result.values.masked_fill(torch.arange(len(result.parts))[:, None] == 3, torch.nan))
    many = replace(
        result, parts=tuple(dla.Label("neuron", 0, i) for i in range(20_000)), values=torch.randn(20_000, 1), rerun=None
    )
    one_token = attribution(some_tokens(3, 1, 1))
    for i, one in enumerate((holed, result.select("embed"), many, one_token, result.select(kind="head"))):
        one.report(tmp_path / f"{i}.html")
        assert held(tmp_path / f"{i}.html")["labels"] == one.labels


def test_numbers_come_back_from_base64() -> None:
    drawn = np.random.default_rng(0).standard_normal((2, 3))
    for dtype in ("<f4", "<f8"):
        np.testing.assert_array_equal(numbers(base64_of(drawn, dtype), dtype, 2, 3), drawn.astype(dtype))

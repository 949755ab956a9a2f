"""The page in a real browser: silent, offline, usable by keyboard, and the same facts as the result."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from page_samples import HOSTILE, sample_page

import dla
import dla.demo
from dla.views.page.document import page_html

PROMPT = "When Mary and John went to the store , John gave a drink to"
OTHER = "When John and Mary went to the store , John gave a drink to"
DIFFERENCE = dla.LogitDifference(" Mary", " John")


@pytest.fixture(scope="module")
def result() -> dla.Attribution:
    return dla.Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer()).attribute(PROMPT, DIFFERENCE)


@pytest.fixture(scope="module")
def files(result: dla.Attribution, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages that are looked at, by what they show."""
    folder = tmp_path_factory.mktemp("pages")
    attributor = dla.Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer())
    asked = {"Mary - John": DIFFERENCE, "Mary": dla.Logit(" Mary")}
    several = attributor.attribute([PROMPT, OTHER], asked, pos=None)
    layers = dla.Attributor(attributor.model, dla.LayerDecomposer()).attribute(PROMPT, DIFFERENCE)
    found = {name: folder / f"{name}.html" for name in ("one", "several", "layers", "hostile", "large")}
    result.report(found["one"], sources=64, promoted=5)
    several.report(found["several"], sources=64)
    layers.report(found["layers"])
    hostile = sample_page(2, 3, HOSTILE, sources=3, title=HOSTILE[0])
    found["hostile"].write_text(page_html(hostile, ""), encoding="utf-8")
    large = sample_page(80, 64, [f"token {i}" for i in range(2000)], sources=64)
    found["large"].write_text(page_html(large, ""), encoding="utf-8")
    return found


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Any:
    """Opens a page; after the test it must have logged nothing, asked for nothing and raised nothing."""
    contexts, heard = [], []

    def go(file: Path, hash_: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1100, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        listen(page, heard, file)
        page.goto(f"{file.as_uri()}{hash_}")
        return page

    yield go
    for context in contexts:
        context.close()
    assert heard == []


def listen(page: Any, heard: list[str], file: Path) -> None:
    """Notes whatever a page says, asks for, or fails at."""
    page.on("console", lambda message: heard.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: heard.append(f"error: {error}"))
    page.on("dialog", lambda dialog: heard.append(f"dialog: {dialog.message}"))
    page.on("request", lambda r: r.url.startswith((file.as_uri(), "blob:")) or heard.append(f"request: {r.url}"))


@pytest.mark.parametrize(
    ("place", "broken", "policy"),
    [
        ("</main>", '</main><img src="https://example.org/x.png">', True),
        ("<style>", "<style>p { color: red }", True),
        ('"use strict";', '"use strict"; console.warn("oh");', False),
        ("build();", "build(); missing();", False),
    ],
)
def test_a_page_that_is_not_silent_is_noticed(
    browser: Any, files: dict[str, Path], tmp_path: Path, place: str, broken: str, policy: bool
) -> None:
    text = files["one"].read_text(encoding="utf-8").replace(place, broken)
    if not policy:  # it forbids a script that was altered
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    file, heard = tmp_path / "broken.html", []
    file.write_text(text, encoding="utf-8")
    page = browser.new_page()
    listen(page, heard, file)
    page.goto(file.as_uri())
    page.wait_for_timeout(100)
    assert heard != []
    page.close()


def test_the_words_and_the_table_say_what_the_result_says(visit: Any, files: Any, result: dla.Attribution) -> None:
    page = visit(files["one"])
    words = page.inner_text("section")
    for number in (float(result.logit), float(result.values.sum()), float(result.constant)):
        assert f"{number:+.4f}" in words.replace("−", "-")
    labels = page.locator("tbody th button").all_inner_texts()
    values = page.locator("tbody tr td:nth-child(4)").all_inner_texts()
    shown = {label: float(value.replace("−", "-")) for label, value in zip(labels, values, strict=True)}
    assert shown == pytest.approx(dict(zip(result.labels, result.values[:, 0].tolist(), strict=True)), abs=1e-4)
    assert labels == [label for label, _ in result.top(len(labels), by="abs")]
    for label, value in zip(result.labels, result.values[:, 0].tolist(), strict=True):
        look = page.get_attribute(f"[role=gridcell][aria-label^='{label},']", "class") if label[0] == "L" else None
        assert look is None or look.split()[1] == ("up" if value > 0 else "down")
    steps = [float(text.replace("−", "-")) for text in page.locator(".steps .number").all_inner_texts()]
    assert sum(steps[:-1]) == pytest.approx(steps[-1], abs=1e-3)


def test_the_table_sorts_and_filters(visit: Any, files: Any, result: dla.Attribution) -> None:
    page = visit(files["one"])

    def labels() -> list[str]:
        return page.locator("tbody th button").all_inner_texts()

    page.click("[data-sort=logits]")
    assert labels() == [label for label, _ in result.bottom(len(result.parts))]
    assert page.get_attribute("th:has([data-sort=logits])", "aria-sort") == "ascending"
    page.click("[data-sort=logits]")
    assert labels() == [label for label, _ in result.top(len(result.parts))]
    page.click("[data-sort=part]")
    assert labels() == sorted(result.labels)
    page.fill("#filter", "l1h")
    assert labels() == [f"L1H{head}" for head in range(4)]
    page.fill("#filter", "nothing")
    assert labels() == []
    assert "0 of 20 rows" in page.inner_text("caption")


def test_what_is_saved_as_csv_is_what_is_shown(visit: Any, files: Any, result: dla.Attribution) -> None:
    page = visit(files["one"], "#q=head")
    with page.expect_download() as download:
        page.click("#csv")
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    heads = result.select(kind="head")
    assert {row["part"]: float(row["logits"]) for row in rows} == pytest.approx(
        dict(zip(heads.labels, heads.values[:, 0].tolist(), strict=True))
    )
    with page.expect_download() as download:
        page.click("#svg")
    assert Path(download.value.path()).read_text(encoding="utf-8").startswith("<svg xmlns=")


def test_by_keyboard_from_the_start_to_what_a_head_reads(visit: Any, files: Any, result: dla.Attribution) -> None:
    page = visit(files["one"])
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "gridcell":
            break
    label = "document.activeElement.getAttribute('aria-label')"
    assert (
        page.evaluate(label) == f"L1H1, +{float(result.values[result.labels.index('L1H1')]):.4f} logits, rank 1 of 20"
    )
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(label).startswith("L1H2, ")
    page.keyboard.press("ArrowUp")
    assert page.evaluate(label).startswith("L0H2, ")
    page.keyboard.press("Home")
    assert page.evaluate(label).startswith("L0H0, ")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    details = page.inner_text("aside")
    sources = result.refine("L1H1", by=dla.SourceDecomposer(layers=[1])).select(kind="source")
    ((_, strongest),) = sources.top(1)
    assert "Reads most from" in details
    assert f"2 'Mary'\n+{strongest:.4f}" in details
    (up, value), *_ = result.part("L1H1").top_tokens(5).up
    assert f"'{up}'\t+{value:.4f}" in details
    assert page.evaluate(label).startswith("L1H1, "), "the focus stays where it was"
    assert "Mary" in page.inner_text(".token.strong")
    page.keyboard.press("Escape")
    assert "Reads most from" not in page.inner_text("aside")


def test_a_link_to_a_finding_leads_to_it(visit: Any, files: Any) -> None:
    page = visit(files["several"])
    page.click("#tab-1")
    page.locator("#place").fill("14")
    page.click("[data-at='1,2']")
    address = page.evaluate("location.hash")
    assert address == "#d=1&p=14&part=L1H2"
    again = visit(files["several"], address)
    assert again.get_attribute("#tab-1", "aria-selected") == "true"
    assert again.inner_text("output") == "prompt 1, position 14 'to'"
    assert again.inner_text("aside") == page.inner_text("aside")
    assert "at each position" in again.inner_text("aside")
    for odd in ("#d=9&p=99999&part=no&s=no", "#d=x&p=1.5", "#%E0%A4%A"):
        assert visit(files["several"], odd).locator("tbody tr").count() == 20


@pytest.mark.parametrize("name", ["one", "several", "layers", "hostile"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_is_found_by_axe(visit: Any, files: Any, name: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = visit(files[name], "" if name == "layers" else "#part=L1H1", color_scheme=scheme)
    assert ("rgb(17, 17, 17)" in page.evaluate("getComputedStyle(document.body).backgroundColor")) == (scheme == "dark")
    violations = axe.Axe().run(page).response["violations"]
    serious = [v for v in violations if v["impact"] in ("serious", "critical")]
    assert [(v["id"], v["nodes"][0]["html"]) for v in serious] == []


@pytest.mark.parametrize("name", ["one", "several", "layers", "hostile", "large"])
def test_a_phone_needs_no_scrolling_sideways(visit: Any, files: Any, name: str) -> None:
    page = visit(files[name], "#part=L1H1", viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_hostile_texts_are_shown_and_do_nothing(visit: Any, files: Any) -> None:
    page = visit(files["hostile"], "#part=L0H1")
    page.wait_for_timeout(200)
    assert page.evaluate("window.stolen") is None
    assert page.locator("script").count() == 2
    assert page.locator("img, iframe, a").count() == 0
    tokens = page.locator("section .token").all_text_contents()
    assert len(tokens) == len(HOSTILE)
    assert tokens[:4] == list(HOSTILE[:4])
    assert "\\x1b[31mred" in tokens[4]
    assert "\\u202e" in tokens[7]
    for text in ("שלום", "🏳️‍🌈", "日本"):
        assert text in tokens
    assert HOSTILE[0] in page.inner_text("h1")


def test_a_prompt_from_right_to_left_is_laid_out_so(visit: Any, tmp_path: Path) -> None:
    file = tmp_path / "rtl.html"
    file.write_text(page_html(sample_page(1, 2, ["مرحبا", " بالعالم", " hi"]), ""), encoding="utf-8")
    boxes = [token.bounding_box() for token in visit(file).locator("section .token").all()]
    assert boxes[0]["x"] > boxes[1]["x"] > boxes[2]["x"]


def test_the_largest_model_opens_quickly_in_a_small_file(visit: Any, files: Any) -> None:
    assert files["large"].stat().st_size < 5_000_000
    ready = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
    pages = [visit(files["large"]) for _ in range(3)]
    # The best of three: other processes may have the processor.
    assert min(page.evaluate(ready) for page in pages) < 2000
    page = pages[0]
    assert page.locator("[role=gridcell]").count() == 80 * 65
    page.click("[data-at='79,63']")
    assert "L79H63" in page.inner_text("aside")


def test_a_large_map_fits_the_screen_and_on_a_phone_scrolls_in_its_own_box(visit: Any, files: Any) -> None:
    room = "(() => { const box = document.querySelector('.scroll'); return [box.scrollWidth, box.clientWidth]; })()"
    needed, there = visit(files["large"]).evaluate(room)
    assert needed <= there
    phone = visit(files["large"], viewport={"width": 360, "height": 740})
    needed, there = phone.evaluate(room)
    assert there < 360 < needed
    phone.evaluate("document.querySelector('.scroll').scrollLeft = 400")
    box = phone.locator("[role=rowheader]").nth(40).bounding_box()
    assert 0 <= box["x"] < 40, "the numbers of layers stay"


def test_a_long_prompt_shows_the_token_that_matters(visit: Any, files: Any) -> None:
    page = visit(files["large"])
    inside = (
        "(name) => { const box = document.querySelector('.tokens').getBoundingClientRect();"
        "const at = document.querySelector(name).getBoundingClientRect();"
        "return at.top >= box.top - 1 && at.bottom <= box.bottom + 1; }"
    )
    assert page.evaluate(inside, ".token.here")
    page.locator("[role=gridcell][tabindex='0']").press("Enter")
    assert page.evaluate(inside, ".token.top")


def test_odd_results_open(visit: Any, result: dla.Attribution, tmp_path: Path) -> None:
    holes = result.values.masked_fill(torch.arange(len(result.parts))[:, None] == 3, torch.nan)
    neurons = tuple(dla.Label("neuron", 0, i) for i in range(20_000))
    many = replace(result, parts=neurons, values=torch.randn(20_000, 1), rerun=None)
    odd = (replace(result, values=holes), result.select("embed"), result.select("L0H0"), many)
    for i, one in enumerate(odd):
        one.report(tmp_path / f"{i}.html")
        page = visit(tmp_path / f"{i}.html")
        assert page.locator("tbody tr").count() == min(50, len(one.parts))
        assert "NaN" in page.inner_text("table") or i
    page.click("text=Show 500 more")
    assert page.locator("tbody tr").count() == 550
    page.fill("#filter", "N19999")
    assert page.locator("tbody tr").count() == 1


def test_rows_that_are_not_there_are_a_step_of_their_own(visit: Any, result: dla.Attribution, tmp_path: Path) -> None:
    one, own = result.select("L1H1"), float(result.values[result.labels.index("L1H1")])
    one.report(tmp_path / "one.html")
    page = visit(tmp_path / "one.html")
    unseen = f"{float(result.total) - own:+.4f}".replace("-", "−")
    assert f"1 rows sum to +{own:.4f}; the rows not selected sum to {unseen}." in page.inner_text("section")
    assert f"rows not selected\n{unseen}" in page.inner_text(".steps")
    kept = [3, 5, 7, *range(20, 40)]
    large = sample_page(4, 10, ["a", "b"], places=2)
    page_data = replace(large, rows=kept, values=large.values[:, :, kept])
    (tmp_path / "large.html").write_text(page_html(page_data, ""), encoding="utf-8")
    page = visit(tmp_path / "large.html", "#p=1&s=rank")
    there = large.values[0, 1, kept].sum()
    left = f"{large.values[0, 1].sum() - there:+.4f}".replace("-", "−")
    kept_sum = f"{there:+.4f}".replace("-", "−")
    assert f"23 of 45 rows sum to {kept_sum}; the 22 rows left out here sum to {left}." in page.inner_text("section")
    assert "11 other rows" in page.inner_text(".steps")
    steps = [float(text.replace("−", "-")) for text in page.locator(".steps .number").all_inner_texts()]
    assert sum(steps[:-1]) == pytest.approx(steps[-1], abs=2e-3)
    assert page.locator("tbody tr td:last-child").all_inner_texts() == [*map(str, range(1, 24)), *[""] * 22]
    with page.expect_download() as download:
        page.click("#csv")
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8"))))
    assert sorted(row["part"] for row in rows) == sorted(str(large.parts[i]) for i in kept)
    whole = visit(tmp_path / "large.html", "#p=-1").inner_text("section")
    assert "45 rows sum to" in whole
    assert "left out" not in whole


def test_print_colours_and_motion(visit: Any, files: Any) -> None:
    page = visit(files["several"], reduced_motion="reduce", forced_colors="active")
    assert page.evaluate("getComputedStyle(document.querySelector('.bar')).transitionDuration") == "0s"
    assert page.evaluate("getComputedStyle(document.querySelector('.bar')).forcedColorAdjust") == "none"
    page.emulate_media(media="print", forced_colors="none")
    assert not page.is_visible(".controls")
    assert page.is_visible("table")


def test_one_token_is_underlined_in_forced_colours(visit: Any, files: Any) -> None:
    page = visit(files["one"], forced_colors="active")
    colour = "getComputedStyle(document.querySelector('{}')).borderBottomColor"
    here, other = (page.evaluate(colour.format(name)) for name in (".token.here", ".token:not(.here)"))
    assert here != other

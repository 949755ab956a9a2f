"""The table that is printed fits its terminal and says the sign without colour; in a notebook it is plain HTML."""

import math
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from dla.testing.report import CheckResult, Report
from dla.views.bars import Bars
from dla.views.grid import Grid, Line, printed
from dla.views.palette import NEGATIVE, POSITIVE, colour_of, mark_of

GRID = Grid(
    "logit difference ' Mary' - ' John', HeadDecomposer",
    ("mean", "95 % interval", "> 0"),
    (
        (
            Line("L1H1", ("+3.9336", "[+3.8336, +4.0336]", "99.0 %"), 3.9),
            Line("L1H3", ("-0.7439", "[-0.8439, -0.6439]", "1.0 %"), -0.7),
            Line("lost", ("NaN", "", ""), math.nan),
        ),
        (Line("the model's own logit", ("+7.6629", "", "")),),
    ),
    bar=24,
)


def shown(width: int, **options: object) -> str:
    console = Console(width=width, **{"no_color": True, **options})
    with console.capture() as capture:
        console.print(GRID.rich(width))
    return capture.get()


@pytest.mark.parametrize("width", [30, 40, 50, 66, 80, 120])
def test_a_table_fits_and_no_cell_is_cut(width: int) -> None:
    text = shown(width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for cell in ("L1H1", "+3.9336", "-0.7439", "NaN", "+7.6629"):
        assert cell in text
    assert ("[+3.8336, +4.0336]" in text) == (width >= 40)
    assert ("A wider terminal shows" in " ".join(text.split())) == (width < 50)
    assert ("█" in text) == (width > 66)


def test_bars_to_either_side_say_the_sign() -> None:
    up, down = (next(line for line in shown(100).splitlines() if label in line) for label in ("L1H1", "L1H3"))
    assert down.rindex("█") < up.index("█")


def test_colours_are_those_of_the_signs() -> None:
    text = shown(100, no_color=False, force_terminal=True, color_system="truecolor")
    for colour in (POSITIVE, NEGATIVE):
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        assert f"38;2;{red};{green};{blue}m" in text


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", [POSITIVE, NEGATIVE])
@pytest.mark.parametrize("background", ["#ffffff", "#111111"])
def test_either_colour_is_seen_on_white_and_on_black(colour: str, background: str) -> None:
    assert contrast(colour, background) >= 3


def test_what_has_no_sign_has_no_colour_of_one() -> None:
    for value in (0.0, math.nan):
        assert colour_of(value) not in (POSITIVE, NEGATIVE)
        assert mark_of(value) == ""
    assert (mark_of(1.0), mark_of(-1.0)) == ("▲", "▼")


@pytest.mark.parametrize(
    ("values", "value", "place"),
    [
        ([2.0, 4.0], 2.0, (0, 5)),
        ([-2.0, -4.0], -2.0, (5, 5)),
        ([-1.0, 4.0], 4.0, (2, 8)),
        ([-1.0, 4.0], -1.0, (0, 2)),
        ([math.nan, math.inf, 1.0], math.inf, (0, 0)),
        ([], 0.0, (0, 0)),
    ],
)
def test_where_a_bar_lies(values: list[float], value: float, place: tuple[float, float]) -> None:
    assert Bars.of(values).place(value, 10) == pytest.approx(place)


def test_print_asks_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, printed(GRID.rich(40)).splitlines())) <= 40
    monkeypatch.setenv("COLUMNS", "200")
    assert len(printed("x " * 120).splitlines()[0]) > 150


class Tags(HTMLParser):
    """The tags of a document, checked to be closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_notebook_gets_a_table_that_is_read_aloud_well() -> None:
    tags = Tags(GRID.html()).seen
    assert {tag for tag, _ in tags} == {"table", "caption", "thead", "tbody", "tr", "th", "td", "div"}
    assert [attributes["scope"] for tag, attributes in tags if tag == "th"] == ["col"] * 5 + ["row"] * 4
    bars = [attributes["style"] for tag, attributes in tags if tag == "div"]
    assert [style.rpartition(":")[2] for style in bars if style] == [POSITIVE, NEGATIVE]
    # Only the bars have a colour: all else is the host's.
    assert len(re.findall("color|background", GRID.html())) == 2


def test_a_long_table_is_folded_and_keeps_its_sums() -> None:
    rows = tuple(Line(f"row {i}", (str(i),), 1.0) for i in range(20_000))
    html = Grid("many", ("n",), (rows, (Line("sum", ("5",)),))).html()
    before, after = html.split("<details>")
    Tags(html)
    assert ">row 39<" in before
    assert ">sum<" in before
    assert ">row 40<" in after
    assert ">row 999<" in after
    assert "960 more rows" in after
    assert "19000 more rows are in to_dataframe()." in after
    assert len(html) < 500_000


def test_a_report_has_a_table_too() -> None:
    html = Report("check", (CheckResult("a", "<b>"), CheckResult("c", "", "wrong")))._repr_html_()
    Tags(html)
    for cell in ("✓", "✗", "&lt;b&gt;", "wrong"):
        assert f">{cell}<" in html

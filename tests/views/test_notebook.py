"""What a notebook shows of each public result: a table that no text of a model can break out of."""

import importlib
import inspect
import pkgutil
import re
from html.parser import HTMLParser
from typing import Any

import pandas as pd
import pytest
from subjects import GPT2

import dla
from dla.testing.models import PROMPT

HOSTILE = "</td><script>alert(1)</script>\x1b[31m\u202e\x00\ud800[bold]"
VOID = ("br", "img")


def every_class() -> list[type]:
    """All classes of the library, whatever room they are in."""
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(dla.__path__, "dla.")
        if not found.name.endswith("__main__")
    ]
    return sorted(
        {
            each
            for module in modules
            for _, each in inspect.getmembers(module, inspect.isclass)
            if each.__module__.startswith("dla.")
        },
        key=lambda each: each.__qualname__,
    )


def test_what_prints_as_a_table_is_one_in_a_notebook() -> None:
    shown = [each for each in every_class() if hasattr(each, "__rich_console__")]
    assert {"Attribution", "Comparison", "Effects", "GapReport", "Graph", "Report"} <= {each.__name__ for each in shown}
    assert [each.__name__ for each in shown if not hasattr(each, "_repr_html_")] == []


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One of each public result, with names that are markup where a user may choose them."""
    attributor = dla.Attributor(GPT2.model(), dla.HeadDecomposer())
    difference = dla.LogitDifference(" Mary", " John")
    result = attributor.attribute(PROMPT, difference)
    groups = result.group_by(lambda label: dla.Label("group", text="</td><b>" if label.layer == 0 else "rest"))
    several = attributor.attribute([PROMPT, "When Mary"], {HOSTILE: difference, "b": dla.Logit(" Mary")}, pos=None)
    asked = {"answer": " Mary", "incorrect": " John", "order": ["a", "</td><b>"] * 4}
    prompts = pd.DataFrame({"prompt": [PROMPT, PROMPT.replace("Mary", "Tom")] * 4, **asked})
    folder = dla.sweep(prompts, attributor, tmp_path_factory.mktemp("s") / "<b>s", progress=False)
    summary = dla.Summary.load(folder.path, by="order")
    other = attributor.attribute(PROMPT.replace("Mary", "Tom"), difference)
    effects = result.effects(parts=["L0H0", "L1H1"])
    return {
        "Attribution": result,
        "several directions": several,
        "groups": groups,
        "trace": result.trace("L1H1", by=dla.HeadDecomposer()),
        "trace_back": result.trace_back(),
        "TotalEffects": dla.total_effects(result),
        "Graph": dla.graph(result),
        "lens": dla.Attributor(GPT2.model(), dla.LensDecomposer()).attribute(PROMPT, difference),
        "DirectEffects": result.direct_effects(),
        "Effects": effects,
        "Repair": effects.repair("L0H0"),
        "Shares": groups.shares(),
        "Caveats": result.caveats(effects),
        "Difference": dla.compare(result, other),
        "split": dla.compare(result, other).split(),
        "GapReport": attributor.explain_gap(PROMPT, difference),
        "Part": groups.part("</td><b>"),
        "TokenEffects": result.part("L1H1").top_tokens(3),
        "AttentionScore": result.part("L1H1").attention(-1, 2, by=dla.ComponentDecomposer()),
        "Summary": summary,
        "Comparison": summary.compare(summary),
        "Stability": summary.stability(2),
        "SweepFolder": folder,
        "ExtremePrompt": summary.top_prompts("L1H1", 1)[0],
        "neurons": dla.Attributor(GPT2.model(), dla.NeuronDecomposer()).attribute(PROMPT, difference),
    }


class Outline(HTMLParser):
    """Checks that tags are closed in their order, and notes them with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


def test_every_public_result_is_there(results: dict[str, Any]) -> None:
    named = {
        each.__name__
        for each in (getattr(dla, name) for name in dla.__all__)
        if inspect.isclass(each) and hasattr(each, "_repr_html_")
    }
    assert named <= {type(result).__name__ for result in results.values()}


@pytest.mark.parametrize(
    "name",
    [
        *("Attribution", "several directions", "groups", "trace", "trace_back", "TotalEffects", "Graph", "lens"),
        *("DirectEffects", "Effects", "Repair", "Shares", "Caveats", "Difference", "split", "GapReport", "Part"),
        *(
            "TokenEffects",
            "AttentionScore",
            "Summary",
            "Comparison",
            "Stability",
            "SweepFolder",
            "ExtremePrompt",
            "neurons",
        ),
    ],
)
def test_a_notebook_shows_it(results: dict[str, Any], name: str) -> None:
    text = results[name]._repr_html_()
    outline = Outline(text)
    tags = {tag for tag, _ in outline.seen}
    assert tags <= {
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "div",
        "p",
        "details",
        "summary",
        "pre",
        "br",
    }
    assert not any(attribute.startswith("on") for _, attributes in outline.seen for attribute in attributes)
    assert not set(text) & set("\x1b\u202e\x00\ud800")
    assert all(cell.get("scope") in ("col", "row") for cell in outline.of("th"))
    assert len(outline.of("table")) == 0 or outline.of("th")
    # Only bars have colours of their own; what is written has those of its page, light or dark.
    assert not re.search("(?<!-)color:", text.replace("background:", ""))
    assert text.partition("<details>")[0].count("<tr>") <= 100, "a long one is folded, or cut"
    assert "NaN" not in text or name == "Stability"
    text.encode("utf-8")

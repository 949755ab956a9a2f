"""The documentation site has every page in its menu, and every public name in its reference."""

import re
import sys

import pytest
from blocks import FILES, ROOT

import dla

sys.path.insert(0, str(ROOT / "docs"))
import make_llms

LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(?:#([^)\s]+))?\)")


def anchors(text: str) -> set[str]:
    """The headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_the_menu_has_every_page_once() -> None:
    assert sorted(page for _, page in make_llms.pages()) == sorted((ROOT / "docs").glob("*.md"))


def test_the_reference_has_every_public_name() -> None:
    named = set(re.findall(r"^::: dla\.(\w+)$", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert {name for name in dla.__all__ if not name.startswith("_")} - named == set()


def test_files_for_programs_hold_all_pages(tmp_path) -> None:
    make_llms.write(tmp_path)
    listed, whole = ((tmp_path / name).read_text(encoding="utf-8") for name in ("llms.txt", "llms-full.txt"))
    for _, page in make_llms.pages():
        assert (tmp_path / page.name).exists()
        assert f"]({page.name}): " in listed
        assert page.read_text(encoding="utf-8").strip() in whole


@pytest.mark.parametrize("page", FILES, ids=lambda page: page.name)
def test_links_lead_somewhere(page) -> None:
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        there = page.parent / path
        assert there.exists(), path
        assert not anchor or anchor in anchors(there.read_text(encoding="utf-8")), f"{path}#{anchor}"

"""The picture in the README shows what the code gives now."""

import html
import importlib.util
import re

import pytest
from blocks import ROOT, assert_shown


@pytest.fixture(scope="module")
def drawing():
    spec = importlib.util.spec_from_file_location("make_picture", ROOT / "docs/make_picture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(svg):
    """The text of a picture, line by line."""
    lines = {}
    for y, text in re.findall(r'<text class="demo-r\d+" x="[\d.]+" y="([\d.]+)"[^>]*>([^<]*)</text>', svg):
        lines.setdefault(float(y), []).append(html.unescape(text).replace("\xa0", " "))
    return "\n".join("".join(line) for _, line in sorted(lines.items()))


def test_the_picture_is_what_the_demo_prints(drawing):
    kept = words(drawing.PICTURE.read_text(encoding="utf-8"))
    assert "the model's own logit" in kept
    assert_shown(kept, words(drawing.draw()), "docs/demo.svg (draw it again: python docs/make_picture.py)")


def test_the_picture_fetches_nothing(drawing):
    svg = drawing.PICTURE.read_text(encoding="utf-8")
    addresses = re.findall(r"https?://[^\s\"<>]+", svg)
    assert set(addresses) <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}

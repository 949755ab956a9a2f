"""Draws docs/demo.svg, the picture in the README: `python docs/make_picture.py`, when the demo has changed."""

import io
import re
from pathlib import Path

from rich.console import Console

from dla.cli.demo import EXAMPLES, print_report

PICTURE = Path(__file__).with_name("demo.svg")


def draw() -> str:
    """The picture, with nothing in it that a viewer would have to fetch."""
    console = Console(record=True, width=72, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    example = EXAMPLES["small"]
    print_report(console, example, example.attribute(), [])
    svg = console.export_svg(title="dla demo", unique_id="demo")
    return re.sub(r"[ \t]*@font-face {.*?}\n", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")

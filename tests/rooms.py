"""The rooms of the library, in the order in which they may import: the structure test's list, and the map of the docs.

`python tests/rooms.py` writes the map again; each room is described by the first line of its docstring.
"""

import ast
import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
LIBRARY, PAGE = PROJECT / "dla", PROJECT / "docs/architecture.md"

ROOMS = (
    # what all rooms speak of
    *"text labels errors tolerances provenance".split(),
    # from a prompt and a question to the numbers
    *"inputs directions writes adapters decomposers edits engine".split(),
    # the numbers as results, alone and over a corpus
    *"views results attributor calls sweeps summaries".split(),
    # the package itself, with the public names, and what is built on them
    *("", "testing", "demo", "cli"),
)
"""Each imports from those before it only."""

IMPORT = re.compile(r"^ *(?:from|import) (?:dla\b\.?|\.)(\w*)", re.MULTILINE)
BEGIN, END = "<!-- made by `make map` from tests/rooms.py -->\n", "<!-- end of the map -->"


def home_of(room: str) -> Path:
    """The file whose docstring says what a room holds."""
    file = LIBRARY / f"{room}.py"
    return file if file.is_file() else LIBRARY / room / "__init__.py"


def imported_by(room: str) -> set[str]:
    """The rooms that the files of a room import."""
    home = home_of(room)
    files = home.parent.rglob("*.py") if room and home.stem == "__init__" else home.parent.glob(f"{home.stem}.py*")
    texts = [file.read_text(encoding="utf-8") for file in files]
    return {name for text in texts for name in re.findall(r"^ *(?:from|import) (?:dla\b\.?|\.)(\w*)", text, re.M)} - {
        room
    }


def draw() -> str:
    """The picture: an arrow for each import that does not follow from others."""
    imports = {room: imported_by(room) for room in ROOMS}
    reached: dict[str, set[str]] = {}
    for room in ROOMS:
        reached[room] = imports[room].union(*(reached[other] for other in imports[room]))
    arrows = [
        f"    {lower or 'dla'} --> {room or 'dla'}\n"
        for room in ROOMS
        for lower in sorted(imports[room], key=ROOMS.index)
        if not any(lower in reached[other] for other in imports[room])
    ]
    return "".join(["```mermaid\ngraph TD\n", *arrows, "```\n"])


def render() -> str:
    """The picture, and the map as a table."""
    rows = []
    for room in ROOMS:
        home = home_of(room)
        name = f"dla/{home.relative_to(LIBRARY)}" if room == "" or home.stem == room else f"dla/{room}/"
        sentence = (ast.get_docstring(ast.parse(home.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        rows.append(f"| `{name}` | {sentence} |\n")
    return "".join([draw(), "\n| room | what it holds |\n|---|---|\n", *rows])


def with_map(page: str) -> str:
    """A page with the map as it is now."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{render()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(with_map(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

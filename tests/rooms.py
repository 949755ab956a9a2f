"""The rooms of the library, in the order in which they may import: the structure test's list and CONTRIBUTING's map.

`python tests/rooms.py` writes the map again; each room is described by the first line of its docstring.
"""

import ast
from pathlib import Path

PROJECT = Path(__file__).parents[1]
LIBRARY, PAGE = PROJECT / "dla", PROJECT / "CONTRIBUTING.md"

ROOMS = (
    *(
        "labels",
        "errors",
        "tolerances",
        "provenance",
        "inputs",
        "directions",
        "writes",
        "adapters",
        "decomposers",
        "engine",
    ),
    *("views", "results", "attributor", "direct", "sweeps", "summaries", "", "testing", "demo", "cli"),
)
"""Each imports from those before it only; "" is the package itself, the public names."""

BEGIN, END = "<!-- made by `make map` from tests/rooms.py -->\n", "<!-- end of the map -->"


def home_of(room: str) -> Path:
    """The file whose docstring says what a room holds."""
    file = LIBRARY / f"{room}.py"
    return file if file.is_file() else LIBRARY / room / "__init__.py"


def render() -> str:
    """The map, as a table."""
    rows = []
    for room in ROOMS:
        home = home_of(room)
        name = f"dla/{home.relative_to(LIBRARY)}" if room == "" or home.stem == room else f"dla/{room}/"
        sentence = (ast.get_docstring(ast.parse(home.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        rows.append(f"| `{name}` | {sentence} |\n")
    return "".join(["| room | what it holds |\n|---|---|\n", *rows])


def with_map(page: str) -> str:
    """A page with the map as it is now."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{render()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(with_map(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

"""Writes docs/mutants.md: `python docs/make_mutants.py`, when a mutant or a check has changed.

It fails, and writes nothing, where a mutant is not found first by the check that names its mistake.
"""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

PAGE = Path(__file__).with_name("mutants.md")
sys.path.insert(0, str(PAGE.parents[1] / "tests/testing"))

from mutants.catalogue import ABLATIONS, ADAPTERS, DECOMPOSERS, DICTIONARIES, DIRECTIONS, RIGHT, Mutant  # noqa: E402  found by the line above
from mutants.trying import report_of  # noqa: E402

HEAD = """\
# What the checks find

Each of these is wrong in one way, as people get it wrong, and `dla.testing` finds it: the table says by which checks,
the one that names the mistake in bold. Some mistakes break several laws. Each was tried on the one tiny model that is
named; a check of your own decomposer tries many. The mutants are in
`tests/testing/mutants/`, next to {right} unusual decompositions that are right and pass. This
page is made by `python docs/make_mutants.py`.
"""

ROW = "| `{name}` | {mistake} | {on} | {found} |"


def found_by(mutant: Mutant) -> list[str]:
    """The checks that find a mutant.

    Raises:
        SystemExit: If the first of them is not its own, or does not say what is wrong.
    """
    report = report_of(mutant)
    first = report.first_failure()
    if first is None or first.name != mutant.check or not re.search(mutant.says, first.problem):
        raise SystemExit(f"{mutant.name} should be found by {mutant.check!r}, saying {mutant.says!r}. Found: {first}")
    return [name for name in dict.fromkeys(step.name for step in report.failures()) if name not in mutant.may]


def page(found: Callable[[Mutant], Sequence[str]] = found_by) -> str:
    """The whole page.

    Args:
        found: The checks that find a mutant.
    """
    sections = (("Decomposers", DECOMPOSERS), ("Adapters", ADAPTERS), ("Directions", DIRECTIONS))
    sections += (("Ablations", ABLATIONS), ("Dictionaries", DICTIONARIES))
    tables = [f"## {title}\n\n{_table(mutants, found)}" for title, mutants in sections if mutants]
    return "\n".join([HEAD.format(right=len(RIGHT)), *tables])


def _table(mutants: Sequence[Mutant], found: Callable[[Mutant], Sequence[str]]) -> str:
    rows = [
        ROW.format(
            name=mutant.name,
            mistake=mutant.mistake.replace("|", "\\|"),
            on=", ".join(map(str, mutant.models)) or ("a quick check" if mutant in DECOMPOSERS else "numbers"),
            found=", ".join(f"**{name}**" if name == mutant.check else name for name in found(mutant)),
        )
        for mutant in mutants
    ]
    return "\n".join(["| mutant | what is wrong | tried on | found by |", "|---|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

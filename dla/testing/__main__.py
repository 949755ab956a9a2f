"""`python -m dla.testing mypackage.mymodule:MyDecomposer`: the checks from a shell."""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from dla.testing.named import reports_on
from dla.testing.profiles import Profile


def check_from_shell(given: list[str] | None = None) -> int:
    """Checks what is named; the exit code is 0 if all is right, 1 if not, 2 if there is nothing of that name."""
    parser = argparse.ArgumentParser(prog="python -m dla.testing", description="Checks decomposers and the like.")
    parser.add_argument("names", nargs="+", metavar="module:Name", help="a class without arguments, or an instance")
    parser.add_argument("--quick", action="store_true", help="try a few models only")
    parser.add_argument("--html", type=Path, help="write the reports to this file as well")
    options = parser.parse_args(given)
    found, console = [], Console()
    try:
        for report in reports_on(options.names, Profile.QUICK if options.quick else Profile.FULL):
            console.print(report)
            found.append(report)
    except ValueError as error:
        print(f"dla.testing: {error}", file=sys.stderr)
        return 2
    if options.html is not None:
        options.html.write_text("\n".join(report._repr_html_() for report in found), encoding="utf-8")
    return 0 if all(report.ok for report in found) else 1


if __name__ == "__main__":
    sys.exit(check_from_shell())

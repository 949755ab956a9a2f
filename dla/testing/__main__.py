"""`python -m dla.testing mypackage.mymodule:MyDecomposer`: the checks from a shell."""

import argparse
import sys
from pathlib import Path

from dla.testing.named import show_reports
from dla.testing.profiles import Profile


def check_from_shell(given: list[str] | None = None) -> int:
    """Checks what is named; the exit code is 0 if all is right, 1 if not, 2 if there is nothing of that name."""
    parser = argparse.ArgumentParser(prog="python -m dla.testing", description="The same as `dla check`.")
    parser.add_argument("names", nargs="+", metavar="module:Name", help="a class without arguments, or an instance")
    parser.add_argument("--quick", action="store_true", help="try a few models only")
    parser.add_argument("--html", type=Path, help="write the reports to this file as well")
    options = parser.parse_args(given)
    try:
        right = show_reports(options.names, Profile.QUICK if options.quick else Profile.FULL, options.html)
    except ValueError as error:
        print(f"dla.testing: {error}", file=sys.stderr)
        return 2
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(check_from_shell())

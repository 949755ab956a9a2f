"""`dla check`: what `dla.testing` finds of a class of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from dla.cli.failing import FAILED

CHECK_EXAMPLES = """Examples:

\b
  dla check mypackage.mymodule:MyDecomposer
  dla check mymodule:MyDirection mymodule:my_adapter --quick --html report.html
"""


def check_command(
    names: Annotated[list[str], typer.Argument(metavar="MODULE:NAME...", help="A class, a function or an instance.")],
    quick: Annotated[bool, typer.Option("--quick", help="Try decomposers on a few models only.")] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the reports to this file as well.")] = None,
) -> None:
    """Check a decomposer, direction, ablation, dictionary or adapter, law by law; exits with 1 if one is wrong."""
    from dla.testing import Profile  # takes seconds
    from dla.testing.named import show_reports

    if not show_reports(names, Profile.QUICK if quick else Profile.FULL, html):
        raise typer.Exit(FAILED)

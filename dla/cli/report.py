"""`dla report`: a sweep as a page to explore."""

from pathlib import Path
from typing import Annotated

import typer

import dla
from dla.cli.targets import mistake_of, not_a_sweep, refuse
from dla.errors import DLAError
from dla.text import as_text

REPORT_EXAMPLES = """Examples:

\b
  dla report heads --out heads.html
  dla report heads --out heads.html --by order
"""


def report_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that a sweep wrote.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page to write: one HTML file, for any browser.")],
    by: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Split the prompts by this column; may be repeated.")
    ] = None,
) -> None:
    """Write a sweep as a page to explore: a map of heads, a table, the prompts at both ends; it needs no network."""
    refuse({not_a_sweep(folder): True, mistake_of("--out", out, ".html", "an HTML page"): True})
    summary = dla.Summary.load(folder, by or None)
    if not summary.count:
        raise DLAError(summary.about.nothing())
    summary.report(out)
    typer.echo(f"{as_text(str(out))}: {len(summary.labels)} parts, {summary.count} prompts")

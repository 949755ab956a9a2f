"""`dla compare`: two results side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

import dla
from dla.cli.targets import check_option
from dla.views.files import replacing
from dla.views.text import as_cell, as_printed

if TYPE_CHECKING:
    from dla.results.attribution import Attribution

COMPARE_EXAMPLES = """Examples:

\b
  dla compare before.nc after.nc
  dla compare heads other --csv differences.csv
"""


def compare_command(
    first: Annotated[Path, typer.Argument(metavar="A", help="A saved attribution (.nc), or a folder of a sweep.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another of the same kind.")],
    top: Annotated[int, typer.Option(min=1, metavar="K", help="Show the K rows that differ most.")] = 20,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all rows here.")] = None,
) -> None:
    """Show two results side by side, aligned by the labels of their rows: the first minus the second."""
    check_option("--csv", csv, ".csv", "CSV")
    one, other = _read(first), _read(second)
    result = dla.compare(one, other)  # two kinds are refused there, in a sentence
    if csv is not None:  # first: whoever reads the table may stop early
        with replacing(csv) as unfinished:
            result.to_dataframe().rename(columns=as_cell).map(as_cell).to_csv(unfinished, index=False)
    console = Console()
    console.print(as_printed(f"first: {first}\nsecond: {second}\n"))
    console.print(result.table(top))


def _read(path: Path) -> "Attribution | dla.Summary":
    return dla.Summary.load(path, top_k=0) if path.is_dir() else dla.load(path)

"""`dla compare`: two results side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

import dla
from dla.cli.json_file import Document, write_document
from dla.cli.targets import mistake_of, not_a_sweep, refuse
from dla.views.endings import OTHERS
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
    json: Document = None,
) -> None:
    """Show two results side by side, aligned by the labels of their rows: the first minus the second."""
    missing = {f"There is no file or folder {str(path)!r}.": not path.exists() for path in (first, second)}
    kinds = ["a folder" if path.is_dir() else "a file" for path in (first, second)]
    unlike = f"{str(first)!r} is {kinds[0]} and {str(second)!r} {kinds[1]}."
    remedy = "Two files of attributions are compared, or two folders of sweeps."
    refuse(
        {
            **missing,
            f"{unlike} {remedy}": kinds[0] != kinds[1] and not any(missing.values()),
            **{_not_comparable(path): path.exists() for path in (first, second)},
            mistake_of("--csv", csv, ".csv", "CSV"): True,
            mistake_of("--json", json, ".json", "JSON"): True,
        }
    )
    one, other = _read(first), _read(second)
    result = dla.compare(one, other)  # two kinds are refused there, in a sentence
    if csv is not None:  # first: whoever reads the table may stop early
        with replacing(csv) as unfinished:
            result.to_dataframe().rename(columns=as_cell).map(as_cell).to_csv(unfinished, index=False)
    if json is not None and write_document(result.to_json(top), json):
        return
    console = Console()
    console.print(as_printed(f"first: {first}\nsecond: {second}\n"))
    console.print(result.table(top))


def _not_comparable(path: Path) -> str:
    """Why what was named is neither a saved attribution nor a sweep; empty if it may be one."""
    if path.is_dir():
        return not_a_sweep(path)
    if path.suffix.lower() in OTHERS:
        told = "holds numbers to read, without what is needed to compare them" if path.suffix == ".json" else "is none"
        return f"{str(path)!r} {told}. Save attributions with dla attribute --save a.nc, and compare those files."
    return ""


def _read(path: Path) -> "Attribution | dla.Summary":
    return dla.Summary.load(path, top_k=0) if path.is_dir() else dla.load(path)

"""`dla summary`: what a sweep found on average."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

import dla
from dla.cli.json_file import Document, write_document
from dla.cli.targets import mistake_of, not_a_sweep, refuse
from dla.errors import DLAError
from dla.views.files import replacing
from dla.views.text import as_cell, as_printed

if TYPE_CHECKING:
    import dla.summaries

_PROMPTS = 5

SUMMARY_EXAMPLES = """Examples:

\b
  dla summary heads --by order --top 10
  dla summary heads --prompts L9H6
  dla summary heads --compare other --csv differences.csv
"""


def summary_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that a sweep wrote.")],
    by: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Split the prompts by this column; may be repeated.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, metavar="K", help="Show the K largest and the K smallest means.")
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="PART", help="Show the prompts on which this part is largest, and those on which it is smallest."
        ),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="OTHER", help="Another sweep of the same corpus: show the differences, prompt by prompt."),
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a row for each group and part here.")] = None,
    json: Document = None,
) -> None:
    """Show what each part contributes on average over a sweep's prompts, with 95 % intervals."""
    given = [folder] if compare is None else [folder, compare]
    refuse(
        {
            **{not_a_sweep(each): True for each in given},
            mistake_of("--csv", csv, ".csv", "CSV"): True,
            mistake_of("--json", json, ".json", "JSON"): True,
        }
    )
    summary = dla.Summary.load(folder, by or None, top_k=_PROMPTS)
    other = None if compare is None else dla.Summary.load(compare, top_k=0)
    for one in (summary, other):
        if one is not None and not one.count:
            raise DLAError(one.about.nothing())
    result = summary if other is None else summary.compare(other)
    examples = [] if prompts is None else _examples(result, prompts)  # a part that is not there raises before the table
    if csv is not None:
        with replacing(csv) as unfinished:
            cells = result.to_dataframe().rename(columns=as_cell).map(as_cell)
            cells.to_csv(unfinished, index=False)
    if json is not None and write_document(result.to_json(top), json):
        return
    console = Console()
    if compare is not None:
        console.print(as_printed(f"first: {folder}\nsecond: {compare}\n"))
    console.print(result.table() if top is None else result.table(top))
    for line in examples:
        console.print(as_printed(line), soft_wrap=True)


def _examples(result: "dla.Summary | dla.summaries.Comparison", part: str) -> list[str]:
    """The prompts at both ends of a part, a line each."""
    ends = {"largest": result.top_prompts(part, _PROMPTS), "smallest": result.bottom_prompts(part, _PROMPTS)}
    return [line for end, found in ends.items() for line in (f"{part} is {end} on", *map(_line, found))]


def _line(example: "dla.summaries.ExtremePrompt") -> str:
    return f"  {example.value:+.4f}  row {example.row}: {example.prompt!r} {example.answer!r}"

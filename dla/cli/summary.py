"""`dla summary`: what a sweep found on average."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from dla.cli.targets import check_option
from dla.errors import DLAError
from dla.summaries import Comparison, Example, Summary
from dla.summaries.summary import SHOWN
from dla.views.files import replacing

_PROMPTS = 5


def show_summary(
    folder: Path, by: Sequence[str], top: int | None, prompts: str | None, compare: Path | None, csv: Path | None
) -> None:
    """Summarises, prints the table, and writes the file.

    Args:
        folder: The sweep's folder.
        by: Columns of the corpus.
        top: How many parts to show at each end; None for as many as are usually shown.
        prompts: The part of which prompts are shown, or None.
        compare: The folder of another sweep of the corpus, or None.
        csv: Where to write the numbers of all parts, or None.

    Raises:
        ValueError: If an argument does not fit the folder.
        DLAError: If a folder is no sweep's, a file of it is damaged, or it holds no prompt.
    """
    check_option("--csv", csv, ".csv", "CSV")
    summary = Summary.load(folder, by or None, top_k=_PROMPTS)
    other = None if compare is None else Summary.load(compare, top_k=0)
    for one in (summary, other):
        if one is not None and not one.count:
            raise DLAError(one.about.nothing())
    result = summary if other is None else summary.compare(other)
    examples = [] if prompts is None else _examples(result, prompts)
    console = Console()
    if compare is not None:
        console.print(f"first: {folder}\nsecond: {compare}\n", highlight=False, markup=False)
    console.print(result.table(SHOWN if top is None else top))
    for line in examples:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if csv is not None:
        with replacing(csv) as unfinished:
            result.to_dataframe().to_csv(unfinished, index=False)


def _examples(result: Summary | Comparison, part: str) -> list[str]:
    """The prompts at both ends of a part, a line each."""
    ends = {"largest": result.top_prompts(part, _PROMPTS), "smallest": result.bottom_prompts(part, _PROMPTS)}
    return [line for end, found in ends.items() for line in (f"{part} is {end} on", *map(_line, found))]


def _line(example: Example) -> str:
    return f"  {example.value:+.4f}  row {example.row}: {example.prompt!r} {example.answer!r}"

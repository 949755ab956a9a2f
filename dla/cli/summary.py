"""`dla summary`: what a sweep found on average."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from dla.summaries import Comparison, Example, Summary
from dla.summaries.summary import SHOWN
from dla.sweeps.parquet import replacing

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
        DLAError: If a folder is no sweep's, or a file of it is damaged.
    """
    if csv is not None and not csv.absolute().parent.is_dir():
        raise ValueError(f"--csv {str(csv)!r}: there is no folder {str(csv.parent)!r}. Make it, or pass another.")
    summary, console = Summary.load(folder, by or None, top_k=_PROMPTS), Console()
    result: Summary | Comparison = summary
    if compare is not None:
        result = summary.compare(Summary.load(compare, top_k=0))
        console.print(f"first: {folder}\nsecond: {compare}\n", highlight=False, markup=False)
    console.print(result.table(SHOWN if top is None else top))
    if prompts is not None:
        largest, smallest = result.top_prompts(prompts, _PROMPTS), result.bottom_prompts(prompts, _PROMPTS)
        for line in (f"{prompts} is largest on", *_lines(largest), f"{prompts} is smallest on", *_lines(smallest)):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    if csv is not None:
        with replacing(csv) as unfinished:
            result.to_dataframe().to_csv(unfinished, index=False)


def _lines(examples: Sequence[Example]) -> list[str]:
    return [f"  {found.value:+.4f}  row {found.row}: {found.prompt!r} {found.answer!r}" for found in examples]

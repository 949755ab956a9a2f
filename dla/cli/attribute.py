"""`dla attribute`: one prompt on a model that the user names."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import dla
from dla.cli.command import ModelName, PrependBos
from dla.cli.decomposing import SEQUENCES, By, Decompose, Dtype, decomposer_of, kinds_named
from dla.cli.files import OutputFiles
from dla.cli.json_file import STDOUT, result_as_json
from dla.cli.quiet import load_attributor, notes_in_a_line
from dla.cli.targets import refuse
from dla.cli.tokens import direction_of
from dla.views.text import as_printed

_PROMOTED = 10  # tokens that a page names of a head, at either end
_PUSHED = 10  # those that --top-tokens shows

ATTRIBUTE_EXAMPLES = """Examples:

\b
  dla attribute --model gpt2 --prompt "The Eiffel Tower is in" --answer " Paris"
  dla attribute --model gpt2 --prompt "The Eiffel Tower is in" --answer " Paris" \\
      --incorrect " Rome" --decompose head --report paris.html --sources 64
  dla attribute --model gpt2 --prompt "The Eiffel Tower is in" --answer " Paris" \\
      --decompose head+neuron --refine L9H6 --by source --top-tokens L9H6 --json -
"""


def attribute_command(
    model: ModelName,
    prompt: Annotated[str, typer.Option(help="The text to run the model on.")],
    answer: Annotated[
        str,
        typer.Option(
            metavar="TOKEN",
            help='The token to attribute: its text (mind the leading space: " Mary"), or its id, written id:464.',
        ),
    ],
    incorrect: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="A token whose logit is subtracted, written as --answer is.")
    ] = None,
    decompose: Decompose = "component",
    refine: Annotated[
        str | None, typer.Option(metavar="PART", help="Show this part in pieces: its name, such as L9H6; needs --by.")
    ] = None,
    by: By = None,
    pos: Annotated[int, typer.Option(help="The position in the prompt; negative ones count from the end.")] = -1,
    top: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="Show the K most positive and the K most negative rows."),
    ] = None,
    top_tokens: Annotated[
        str | None, typer.Option(metavar="PART", help="Show which tokens this part pushes up and down most, too.")
    ] = None,
    dtype: Dtype = "float32",
    prepend_bos: PrependBos = None,
    json: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the whole result to this file too; - prints it instead of the table, as JSON."
        ),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save the result (.nc), for dla compare and dla.load in Python.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a line for each row to this file.")] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw a picture: an .html file (with plotly), or an .svg file.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page to explore: one HTML file, for any browser.")
    ] = None,
    sources: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="On the page, say which tokens the N strongest heads read and promote."),
    ] = None,
) -> None:
    """Attribute a logit, or a difference of two, on a model of your own. It runs on the CPU."""
    printed = json != STDOUT
    files = OutputFiles(json if printed else None, csv, plot, report, save)
    names = kinds_named(decompose)
    refuse(
        {
            "--prompt is empty (''). Pass at least one token: the prompt is what the model reads.": not prompt,
            "--answer '' is no token. Pass one, or its id, written id:464.": not answer,
            "--incorrect is the --answer too, so that the difference is 0. Pass another token.": incorrect == answer,
            f"--top chooses among parts that add up; the rows of {decompose!r} are a sequence. Leave it out.": bool(top)
            and names[0] in SEQUENCES,
            "--refine splits a part by what --by names. Give both, or neither.": (refine is None) != (by is None),
            "--sources is of the page that --report writes. Give both.": sources is not None and report is None,
            f"--sources splits heads, and the rows are those of --decompose {decompose}. Add --decompose head.": bool(
                sources
            )
            and "head" not in names,
            **dict.fromkeys(files.mistakes(), True),
        }
    )
    attributor = load_attributor(model, decompose, dtype)
    direction = direction_of(answer, incorrect, attributor.model.vocabulary)
    with notes_in_a_line():
        result = attributor.attribute(prompt, direction, pos=pos, prepend_bos=prepend_bos)
        finer = result if refine is None or by is None else result.refine(refine, by=decomposer_of(by))
        pushed = None if top_tokens is None else _part(top_tokens, finer, result).top_tokens(_PUSHED)
    result = finer
    files.write(result, sources or 0, _PROMOTED if sources else 0)  # first: whoever reads the table may stop early
    if printed:
        _print(f"{model}, at token", result, top, pushed)
    else:
        typer.echo(result_as_json(result, top, pushed))


def _part(label: str, finer: "dla.Attribution", whole: "dla.Attribution") -> "dla.Part":
    """A row of the table, or the one that was refined."""
    try:
        return finer.part(label)
    except ValueError:
        return whole.part(label)


def _print(place: str, result: "dla.Attribution", top: int | None, pushed: "dla.TokenEffects | None") -> None:
    console = Console()
    position = int(result.positions)
    console.print(as_printed(f"{place} {position} of the prompt ({result.tokens[0][position]!r})\n"))
    console.print(result.table() if top is None else result.table(top))
    if pushed is not None:
        console.print(pushed)

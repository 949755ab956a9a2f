"""`dla attribute`: one prompt on a model that the user names."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

import dla
from dla.cli.command import ModelName, PrependBos
from dla.cli.files import OutputFiles
from dla.cli.quiet import load_attributor, notes_in_a_line
from dla.cli.targets import refuse
from dla.views.text import as_printed

if TYPE_CHECKING:
    import dla.inputs

_PROMOTED = 10  # tokens that a page names of a head, at either end

ATTRIBUTE_EXAMPLES = """Examples:

\b
  dla attribute --model gpt2 --prompt "The Eiffel Tower is in" --answer " Paris"
  dla attribute --model gpt2 --prompt "The Eiffel Tower is in" --answer " Paris" \\
      --incorrect " Rome" --decompose head --report paris.html --sources 64
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
    decompose: Annotated[
        Literal["component", "layer", "head"],
        typer.Option(help="What the rows are: sublayers, the stream as it grows, or attention heads."),
    ] = "component",
    pos: Annotated[int, typer.Option(help="The position in the prompt; negative ones count from the end.")] = -1,
    top: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="Show the K most positive and the K most negative rows."),
    ] = None,
    prepend_bos: PrependBos = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the whole result to this file too.")] = None,
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
    """Attribute a logit, or a difference of two, on a model of your own. It runs on the CPU, in float32."""
    files = OutputFiles(json, csv, plot, report)
    refuse(
        {
            "--prompt is empty (''). Pass at least one token: the prompt is what the model reads.": not prompt,
            "--answer '' is no token. Pass one, or its id, written id:464.": not answer,
            "--incorrect is the --answer too, so that the difference is 0. Pass another token.": incorrect == answer,
            "--top chooses among parts that add up; the rows of 'layer' are a sequence. Leave it out.": top is not None
            and decompose == "layer",
            "--sources is of the page that --report writes. Give both.": sources is not None and report is None,
            f"--sources splits heads, and the rows are those of --decompose {decompose}. Add --decompose head.": bool(
                sources
            )
            and decompose != "head",
            **dict.fromkeys(files.mistakes(), True),
        }
    )
    attributor = load_attributor(model, decompose)
    direction = _direction(answer, incorrect, attributor.model.vocabulary)
    with notes_in_a_line():
        result = attributor.attribute(prompt, direction, pos=pos, prepend_bos=prepend_bos)
    files.write(result, sources or 0, _PROMOTED if sources else 0)  # first: whoever reads the table may stop early
    console = Console()
    position = int(result.positions)
    place = f"{model}, at token {position} of the prompt ({result.tokens[0][position]!r})\n"
    console.print(as_printed(place))
    console.print(result.table() if top is None else result.table(top))


def _direction(answer: str, incorrect: str | None, vocabulary: "dla.inputs.Vocabulary") -> "dla.Direction":
    if incorrect is None:
        return dla.Logit(_token(answer, vocabulary))
    return dla.LogitDifference(_token(answer, vocabulary), _token(incorrect, vocabulary))


def _token(token: str, vocabulary: "dla.inputs.Vocabulary") -> str | int:
    """Its text, or its id where that is what was written."""
    marked, _, number = token.partition("id:")
    if marked or not token:
        return token
    if number.isdecimal():
        return int(number)
    try:
        return vocabulary.token(token)
    except ValueError:
        raise ValueError(
            f"{token!r} is not a token, and {number!r} is not an id, which is a whole number. Write id:464, or the "
            "token's text."
        ) from None

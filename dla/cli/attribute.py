"""`dla attribute`: one prompt on a model that the user names."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

import dla
from dla.cli.command import ModelName, PrependBos
from dla.cli.decomposing import (
    COMPONENT,
    SEQUENCES,
    DecomposeOption,
    Decomposition,
    DTypeOption,
    decomposer,
    load_attributor,
)
from dla.cli.files import OutputFiles
from dla.cli.quiet import notes_in_a_line
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
  dla attribute --model gpt2 --prompt "The Eiffel Tower is in" --answer " Paris" \\
      --decompose head --decompose neuron --refine L9H6 --by source
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
    decompose: DecomposeOption = COMPONENT,
    refine: Annotated[
        str | None, typer.Option(metavar="PART", help="Split one row further, into what --by says: L9H6, 3_mlp_out.")
    ] = None,
    by: Annotated[Decomposition | None, typer.Option(help="What the row of --refine is split into.")] = None,
    pos: Annotated[int, typer.Option(help="The position in the prompt; negative ones count from the end.")] = -1,
    top: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="Show the K most positive and the K most negative rows."),
    ] = None,
    top_tokens: Annotated[
        str | None, typer.Option(metavar="PART", help="Show the tokens that a row pushes up and down most, too.")
    ] = None,
    dtype: DTypeOption = "float32",
    prepend_bos: PrependBos = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the whole result to this file too.")] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a line for each row to this file.")] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write an .nc file, for `dla compare` and dla.load.")
    ] = None,
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
    files = OutputFiles(json, csv, save, plot, report)
    sequence = next((name for name in decompose if name in SEQUENCES), None)
    refuse(
        {
            "--prompt is empty (''). Pass at least one token: the prompt is what the model reads.": not prompt,
            "--answer '' is no token. Pass one, or its id, written id:464.": not answer,
            "--incorrect is the --answer too, so that the difference is 0. Pass another token.": incorrect == answer,
            f"--top chooses among parts that add up; the rows of {str(sequence)!r} are a sequence. Leave it out.": bool(
                top and sequence
            ),
            f"--decompose {sequence} has rows that are a sequence and do not add up. Ask for it alone.": bool(sequence)
            and len(set(decompose)) > 1,
            "--refine and --by belong together. Give both.": (refine is None) != (by is None),
            "--sources is of the page that --report writes. Give both.": sources is not None and report is None,
            f"--sources splits heads, and the rows are those of --decompose {' '.join(decompose)}. Add --decompose "
            "head.": bool(sources) and "head" not in decompose,
            **dict.fromkeys(files.mistakes(), True),
        }
    )
    attributor = load_attributor(model, decompose, dtype)
    direction = _direction(answer, incorrect, attributor.model.vocabulary)
    with notes_in_a_line():
        result = attributor.attribute(prompt, direction, pos=pos, prepend_bos=prepend_bos)
        finer = result if refine is None or by is None else result.refine(refine, by=decomposer([by]))
        pushed = "" if top_tokens is None else str(_part(top_tokens, finer, result).top_tokens())
    result = finer
    files.write(result, sources or 0, _PROMOTED if sources else 0)  # first: whoever reads the table may stop early
    console = Console()
    position = int(result.positions)
    place = f"{model}, at token {position} of the prompt ({result.tokens[0][position]!r})\n"
    console.print(as_printed(place))
    console.print(result.table() if top is None else result.table(top))
    if pushed:
        console.print(as_printed(pushed))


def _direction(answer: str, incorrect: str | None, vocabulary: "dla.inputs.Vocabulary") -> "dla.Direction":
    if incorrect is None:
        return dla.Logit(_token(answer, vocabulary))
    return dla.LogitDifference(_token(answer, vocabulary), _token(incorrect, vocabulary))


def _part(label: str, finer: "dla.Attribution", whole: "dla.Attribution") -> "dla.Part":
    """A row of the table, or the one that was refined."""
    try:
        return finer.part(label)
    except ValueError:
        return whole.part(label)


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

"""The `dla` command. PyTorch is imported when a subcommand runs, not for help or a misspelt option."""

import contextlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dla.cli.once import Once
from dla.provenance import __version__

app = typer.Typer(
    help="Direct logit attribution: which parts of a transformer write a logit, with the proof that they add up.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

WRONG_USE = 2
FAILED = 1
STOPPED = 130


class Decompose(StrEnum):
    """The values of `--decompose`: the units of `dla.direct_logit_attribution`."""

    COMPONENT = "component"
    LAYER = "layer"
    HEAD = "head"


class DecomposerName(StrEnum):
    """The values of `--decompose` of `dla sweep`."""

    COMPONENT = "component"
    LAYER = "layer"
    HEAD = "head"
    NEURON = "neuron"
    BLOCK = "block"


class DemoModel(StrEnum):
    """The values of `--model` of `dla demo`."""

    SMALL = "small"
    SMOLLM2 = "smollm2"


class Where(StrEnum):
    """The values of `--engine`."""

    LOCAL = "local"
    RAY = "ray"


PrependBos = Annotated[
    bool | None,
    typer.Option(
        "--prepend-bos/--no-prepend-bos",
        help="Whether the BOS token is put in front; if neither is given, as the model does by default.",
    ),
]


def main() -> None:
    """The entry point."""
    app()


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"dla {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(cls=Once)
def demo(
    model: Annotated[
        DemoModel,
        typer.Option(help="The small trained model that the package carries, or a real one: SmolLM2-135M-Instruct."),
    ] = DemoModel.SMALL,
) -> None:
    """Attribute a prompt head by head, and print the proof that the rows add up."""
    with _errors_in_a_line():
        with _starting():
            from dla.cli.demo import show_demo

        show_demo(model.value)


@app.command(cls=Once)
def attribute(
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME_OR_FOLDER",
            help="A folder that holds a Hugging Face model and its tokenizer, or the name of a hub model.",
        ),
    ],
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
        Decompose, typer.Option(help="What the rows are: sublayers, the stream as it grows, or attention heads.")
    ] = Decompose.COMPONENT,
    pos: Annotated[int, typer.Option(help="The position in the prompt; negative ones count from the end.")] = -1,
    top: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="Show the K most positive and the K most negative rows."),
    ] = None,
    prepend_bos: PrependBos = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the whole result to this file too.")] = None,
) -> None:
    """Attribute a logit, or a difference of two, on a model of your own. It runs on the CPU, in float32."""
    with _errors_in_a_line():
        with _starting():
            from dla.cli.attribute import show_attribution

        show_attribution(model, prompt, answer, incorrect, decompose.value, pos, top, prepend_bos, json)


@app.command(cls=Once)
def sweep(
    corpus: Annotated[
        str,
        typer.Argument(
            metavar="CORPUS",
            help="A .jsonl, .csv or .parquet file, or a folder of them: columns prompt, answer, incorrect.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME_OR_FOLDER",
            help="A folder that holds a Hugging Face model and its tokenizer, or the name of a hub model.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write; one that was begun is gone on with.")],
    decompose: Annotated[
        DecomposerName,
        typer.Option(help="The parts: sublayers, the stream as it grows, heads, neurons, or each block as a whole."),
    ] = DecomposerName.COMPONENT,
    engine: Annotated[
        Where, typer.Option(help="Where to compute: in this process, or on a Ray cluster.")
    ] = Where.LOCAL,
    actors: Annotated[int, typer.Option(min=1, metavar="N", help="With --engine ray: how many hold the model.")] = 2,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Take only the first N rows.")] = None,
    batch_tokens: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many tokens run together at most, padding included.")
    ] = 8192,
    prepend_bos: PrependBos = None,
) -> None:
    """Attribute every row of a corpus, and keep what was found. Stopped, the same command goes on."""
    with _errors_in_a_line():
        with _starting():
            from dla.cli.sweep import run_sweep

        crew = actors if engine is Where.RAY else None
        run_sweep(corpus, model, out, decompose.value, crew, limit, batch_tokens, prepend_bos)


@app.command(cls=Once)
def summary(
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
) -> None:
    """Show what each part contributes on average over a sweep's prompts, with 95 % intervals."""
    with _errors_in_a_line():
        with _starting():
            from dla.cli.summary import show_summary

        show_summary(folder, by or [], top, prompts, compare, csv)


def _starting() -> contextlib.AbstractContextManager[object]:
    """A sign of life on a terminal: PyTorch and TransformerLens take seconds to import."""
    return Console(stderr=True).status("starting")


@contextlib.contextmanager
def _errors_in_a_line() -> Iterator[None]:
    """Says what went wrong on stderr. Errors of no kind that is expected are defects, and keep their traceback."""
    try:
        yield
    except KeyboardInterrupt as stop:
        notes = vars(stop).get("__notes__", ["Nothing was written."])
        _fail(" ".join(["Stopped.", *notes]), STOPPED)
    except (ValueError, TypeError) as error:
        # the library's messages speak to callers who have ids as integers
        _fail(str(error).replace("or its id.", "or its id, written id:464."), WRONG_USE)
    except Exception as error:
        from dla.errors import DLAError

        if not isinstance(error, DLAError | OSError):
            raise
        _fail(" ".join([str(error), *vars(error).get("__notes__", [])]), FAILED)


def _fail(message: str, code: int) -> None:
    typer.echo(f"dla: {' '.join(message.split())}", err=True)
    raise typer.Exit(code)

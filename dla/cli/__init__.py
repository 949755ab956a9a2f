"""The `dla` command. PyTorch is imported when a subcommand runs, not for help or a misspelt option."""

from typing import Annotated

import typer

from dla.cli.attribute import attribute_command
from dla.cli.command import DlaCommand
from dla.cli.demo import demo_command
from dla.cli.summary import summary_command
from dla.cli.sweep import sweep_command
from dla.provenance import __version__

app = typer.Typer(
    help="Direct logit attribution: which parts of a transformer write a logit, with the proof that they add up.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo", cls=DlaCommand)(demo_command)
app.command("attribute", cls=DlaCommand)(attribute_command)
app.command("sweep", cls=DlaCommand)(sweep_command)
app.command("summary", cls=DlaCommand)(summary_command)


def main() -> None:
    """The entry point."""
    app()


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"dla {__version__}")
        raise typer.Exit
    return wanted  # what the callback gives becomes the option's value


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass

"""The `dla` command. PyTorch is imported when a subcommand runs, not for help or a misspelt option."""

from typing import Annotated

import typer

from dla.cli.attribute import ATTRIBUTE_EXAMPLES, attribute_command
from dla.cli.check import CHECK_EXAMPLES, check_command
from dla.cli.command import HELP_OPTIONS, DlaCommand
from dla.cli.compare import COMPARE_EXAMPLES, compare_command
from dla.cli.demo import demo_command
from dla.cli.encoding import replace_unknown_characters
from dla.cli.mcp import MCP_EXAMPLES, mcp_command
from dla.cli.report import REPORT_EXAMPLES, report_command
from dla.cli.summary import SUMMARY_EXAMPLES, summary_command
from dla.cli.sweep import SWEEP_EXAMPLES, sweep_command
from dla.provenance import __version__

app = typer.Typer(
    help="Direct logit attribution: which parts of a transformer write a logit, with the proof that they add up.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP_OPTIONS,
)
app.command("demo", cls=DlaCommand)(demo_command)
app.command("attribute", cls=DlaCommand, epilog=ATTRIBUTE_EXAMPLES)(attribute_command)
app.command("sweep", cls=DlaCommand, epilog=SWEEP_EXAMPLES)(sweep_command)
app.command("summary", cls=DlaCommand, epilog=SUMMARY_EXAMPLES)(summary_command)
app.command("compare", cls=DlaCommand, epilog=COMPARE_EXAMPLES)(compare_command)
app.command("check", cls=DlaCommand, epilog=CHECK_EXAMPLES)(check_command)
app.command("report", cls=DlaCommand, epilog=REPORT_EXAMPLES)(report_command)
app.command("mcp", cls=DlaCommand, epilog=MCP_EXAMPLES)(mcp_command)


def main() -> None:
    """The entry point."""
    replace_unknown_characters()
    app(prog_name="dla")


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

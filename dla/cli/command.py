"""What the commands share: options given twice, and all that are missing, are refused; errors are told in one way."""

import sys
from collections import Counter
from typing import Annotated, Any, final

import typer
from typer.core import TyperCommand, TyperOption

from dla.cli.failing import errors_in_a_line, usage_as_text, wants_json

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
"""The settings of all commands."""

_JSON = "dla.json"

ModelName = Annotated[
    str,
    typer.Option(
        metavar="NAME_OR_FOLDER",
        help="A folder that holds a Hugging Face model and its tokenizer, or the name of a hub model.",
    ),
]
PrependBos = Annotated[
    bool | None,
    typer.Option(
        "--prepend-bos/--no-prepend-bos",
        help="Whether the BOS token is put in front; if neither is given, as the model does by default.",
    ),
]


@final
class DlaCommand(TyperCommand):
    """A command of `dla`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the command line.

        Raises:
            BadParameter: If an option that is not made to be repeated is given twice; without this the last one counts.
            UsageError: If something is missing; names all that is.
        """
        ctx.meta[_JSON] = wants_json(args)
        with errors_in_a_line(False), usage_as_text(ctx.meta[_JSON], ctx.command_path):
            values, _, given = self.make_parser(ctx).parse_args(args=list(args))
            for option, times in Counter[Any](given).items():
                if times > 1 and isinstance(option, TyperOption) and not option.multiple:
                    raise typer.BadParameter(f"{option.opts[0]} is given {times} times. Give it once.", ctx=ctx)
            self._refuse_missing(ctx, {name for name, value in values.items() if _is_given(value)})
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; an expected error becomes one line on stderr, or a document, and an exit code."""
        with errors_in_a_line(ctx.meta[_JSON]):
            result = super().invoke(ctx)
            sys.stdout.flush()  # what nobody reads any more is noticed here, and not after the last line
            return result

    def _refuse_missing(self, ctx: Any, given: set[str | None]) -> None:
        """Names all that is missing at once, where two things are; one is named in typer's own words."""
        if "help" in given or ctx.resilient_parsing:
            return
        missing = [each for each in self.get_params(ctx) if each.required and each.name not in given]
        if len(missing) > 1:
            names = [
                each.opts[0] if isinstance(each, TyperOption) else str(each.metavar or each.name) for each in missing
            ]
            usage: Any = typer.BadParameter.__base__
            raise usage(f"Missing: {', '.join(map(repr, names))}.", ctx=ctx)


def _is_given(value: object) -> bool:
    """Whether the parser read something: a text, which may be empty, a switch, or the words of a repeated argument."""
    return isinstance(value, str | bool) or (isinstance(value, tuple | list) and bool(value))

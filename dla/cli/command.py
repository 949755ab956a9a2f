"""What the commands share: an option given twice is refused, and an error is one line on stderr."""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, final

import typer
from typer.core import TyperCommand, TyperOption

from dla.errors import DLAError
from dla.text import as_text

FAILED, WRONG_USE, STOPPED = 1, 2, 130
"""The exit codes besides 0."""

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

_USAGE: Any = typer.BadParameter.__base__  # typer gives no name to the class of all such errors


@final
class DlaCommand(TyperCommand):
    """A command of `dla`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the command line.

        Raises:
            BadParameter: If an option that is not made to be repeated is given twice; without this the last one counts.
            UsageError: If options are missing; names them all.
        """
        with _usage_as_text():
            values, _, given = self.make_parser(ctx).parse_args(args=list(args))
            for option, times in Counter[Any](given).items():
                if times > 1 and isinstance(option, TyperOption) and not option.multiple:
                    raise typer.BadParameter(f"{option.opts[0]} is given {times} times. Give it once.", ctx=ctx)
            if not any(option.is_eager for option in given):  # --help and --version need nothing else
                self._check_all_there(ctx, values)
            return super().parse_args(ctx, args)

    def _check_all_there(self, ctx: Any, values: Mapping[str, Any]) -> None:
        absent = [param for param in self.get_params(ctx) if param.required and not _given(values.get(param.name))]
        missing = [repr(each.opts[0] if isinstance(each, TyperOption) else each.metavar) for each in absent]
        if len(missing) > 1:
            raise _USAGE(f"Missing: {', '.join(missing)}.", ctx)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; an expected error becomes one line on stderr and an exit code."""
        with _errors_in_a_line():
            result = super().invoke(ctx)
            sys.stdout.flush()  # what nobody reads any more is noticed here, and not after the last line
            return result


def _given(value: Any) -> bool:
    return isinstance(value, str | list | tuple | bool) and value != ()


@contextlib.contextmanager
def _usage_as_text() -> Iterator[None]:
    """Shows what was given on a command line that cannot be read as text."""
    try:
        yield
    except _USAGE as error:
        error.message = as_text(error.message)
        raise


@contextlib.contextmanager
def _errors_in_a_line() -> Iterator[None]:
    """Any other error than these is a defect of the library, and keeps its traceback."""
    try:
        yield
    except KeyboardInterrupt as stop:
        notes = vars(stop).get("__notes__", ["Nothing was written."])
        _fail(" ".join(["Stopped.", *notes]), STOPPED)
    except BrokenPipeError:
        # The reader has what it wanted, as `head` does. Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None
    except (ValueError, TypeError, FileNotFoundError, NotADirectoryError) as error:
        # the library's messages speak to callers who have ids as integers
        _fail(str(error).replace("or its id.", "or its id, written id:464."), WRONG_USE)
    except (DLAError, OSError) as error:
        _fail(" ".join([str(error), *vars(error).get("__notes__", [])]), FAILED)


def _fail(message: str, code: int) -> None:
    typer.echo(f"dla: {as_text(' '.join(message.split()))}", err=True)
    raise typer.Exit(code)

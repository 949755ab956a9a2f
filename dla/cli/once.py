"""A command of which each option is given once; without it the last one counts, and nothing says so."""

from collections import Counter
from typing import Any, final

import typer
from typer.core import TyperCommand, TyperOption


@final
class Once(TyperCommand):
    """A command that refuses an option given twice, unless it is made to be repeated."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the command line.

        Raises:
            BadParameter: If an option is given twice.
        """
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for option, times in Counter[Any](given).items():
            if times > 1 and isinstance(option, TyperOption) and not option.multiple:
                raise typer.BadParameter(f"{option.opts[0]} is given {times} times. Give it once.", ctx=ctx)
        return super().parse_args(ctx, args)

"""`dla mcp`: the library as tools of an agent, over stdin and stdout."""

import os
import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from dla.cli.decomposing import Dtype
from dla.cli.failing import STOPPED
from dla.cli.quiet import loading
from dla.cli.targets import lacks_package, refuse
from dla.errors import MissingPackageError

MCP_EXAMPLES = """Examples:

\b
  dla mcp gpt2 --folder .
  dla mcp path/to/model --folder sweeps --dtype bfloat16
"""


def mcp_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model's folder, or the name of a hub model.")],
    folder: Annotated[
        Path, typer.Option(metavar="DIR", help="Only sweeps and saved results below this folder can be read.")
    ],
    dtype: Dtype = "float32",
    keep: Annotated[
        int, typer.Option(min=1, max=1000, metavar="N", help="How many results are kept for later calls.")
    ] = 32,
) -> None:
    """Serve one model to an agent by the Model Context Protocol: attribute, refine, trace, effects, compare, ...

    It speaks on stdin and stdout alone: nothing listens on a network, nothing is written, no code is run.
    """
    if lacks_package("mcp"):
        raise MissingPackageError("dla mcp needs the mcp package, which is not installed: pip install 'dla[mcp]'.")
    refuse({f"--folder {str(folder)!r} is no folder. Pass one that is there.": not folder.is_dir()})
    signal.signal(signal.SIGINT, _end)  # the SDK waits for a line on stdin, and would not notice
    with loading(f"loading {model}"):
        import torch

        from dla.adapters import adapt
        from dla.adapters.loading import load_model
        from dla.cli.tools.answering import Tools
        from dla.cli.tools.serving import serve

        served = load_model(model, getattr(torch, dtype))
        adapt(served)  # what cannot be attributed is refused now
    serve(Tools(served, folder, keep), model)


def _end(*_: Any) -> None:
    os._exit(STOPPED)

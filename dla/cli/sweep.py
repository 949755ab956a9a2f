"""`dla sweep`: every row of a corpus on a model that the user names."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

import dla
from dla.cli.command import ModelName, PrependBos
from dla.cli.decomposing import Decompose, Dtype, kinds_named
from dla.cli.quiet import load_attributor, loading
from dla.cli.targets import lacks_package, refuse
from dla.errors import DLAError, SweepWarning
from dla.views.text import as_printed

SWEEP_EXAMPLES = """Examples:

\b
  dla sweep prompts.jsonl --model gpt2 --decompose head --out heads
  dla sweep prompts.csv --model gpt2 --out parts --limit 1000
  dla sweep facts.jsonl --model gpt2 --ask log-probability --spans subject --out facts
"""


def sweep_command(
    corpus: Annotated[
        str,
        typer.Argument(
            metavar="CORPUS",
            help="A .jsonl, .csv or .parquet file, or a folder of them: columns prompt, answer, incorrect.",
        ),
    ],
    model: ModelName,
    out: Annotated[str, typer.Option(metavar="DIR", help="The folder to write; a sweep that was stopped is resumed.")],
    decompose: Decompose = "component",
    dtype: Dtype = "float32",
    ask: Annotated[
        Literal["logit", "log-probability", "centred-logit", "text"],
        typer.Option(help="What to ask of the answer; text: the log-probability of an answer of several tokens."),
    ] = "logit",
    spans: Annotated[
        str | None,
        typer.Option(metavar="COLUMNS", help="Split heads by spans of the prompt: columns with words of it, a,b."),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where to compute: in this process, or on a Ray cluster.")
    ] = "local",
    actors: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="With --engine ray: how many hold the model; by default 2.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Take only the first N rows.")] = None,
    batch_tokens: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many tokens run together at most, padding included.")
    ] = 8192,
    prepend_bos: PrependBos = None,
) -> None:
    """Attribute every row of a corpus, and keep what was found. After a stop, the same command resumes."""
    ray = engine == "ray"
    refuse(
        {
            f"There is no file or folder {corpus!r} to read a corpus from.": not Path(corpus).exists(),
            f"--out {out!r} is a file. Pass the name of a folder.": Path(out).is_file(),
            "--actors is of --engine ray. Give both, or neither.": actors is not None and not ray,
            "--spans splits heads, and --decompose names other rows. Give one.": spans is not None
            and not {*kinds_named(decompose)} <= {"component", "head"},
            "--engine ray needs Ray, which is not installed: pip install 'dla[ray]'.": ray and lacks_package("ray"),
        }
    )
    with loading(f"reading {corpus}"):
        from dla.sweeps.corpora import open_corpus  # PyTorch comes with it, under the spinner

        named = [] if spans is None else [name.strip() for name in spans.split(",")]
        open_corpus(corpus, ["prompt", "answer", *named])
    attributor = load_attributor(model, decompose, dtype)
    if named:
        attributor = dla.Attributor(attributor.model, dla.SourceDecomposer(spans=named))
    place = dla.LocalEngine() if engine == "local" else _ray_engine(model, actors or 2, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SweepWarning)  # the same is printed below
        done = dla.sweep(
            *(corpus, attributor, out),
            direction=_direction(ask),
            limit=limit,
            batch_tokens=batch_tokens,
            prepend_bos=prepend_bos,
            engine=place,
        )
    if not done.count:
        raise DLAError(f"{out}: {' '.join(done.notes())}")
    Console(soft_wrap=True).print(as_printed(str(done)))


def _direction(ask: str) -> "dla.Direction | dla.Continuation | None":
    answer = dla.Column("answer")
    asked: dict[str, Callable[[dla.Column], dla.Direction | dla.Continuation]] = {
        "log-probability": dla.LogProbability,
        "centred-logit": dla.CentredLogit,
        "text": dla.Continuation,
    }
    return None if ask == "logit" else asked[ask](answer)


def _ray_engine(model: str, actors: int, dtype: str) -> "dla.Engine":
    import torch

    from dla.adapters.loading import load_model

    # actors run in folders of their own, where a relative path leads elsewhere
    name = str(Path(model).absolute()) if Path(model).exists() else model
    return dla.RayEngine(actors, load=partial(load_model, name, getattr(torch, dtype)))

"""`dla demo`: the main job on the model that the package carries, or on a real one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

import typer
from rich.console import Console

import dla
from dla.cli.quiet import loading
from dla.views.text import as_printed


@final
@dataclass(frozen=True)
class DemoExample:
    """A model, and what it is asked.

    Attributes:
        load: Imports what the model needs, and loads it.
        about: What the model is; its numbers of layers and heads are filled in.
        prompt: The prompt.
        answer: The token that completes it.
        incorrect: The token to compare with.
        sources: Whether to say which token the strongest head reads.
    """

    load: Callable[[], Any]
    about: str
    prompt: str
    answer: str
    incorrect: str
    sources: bool = False

    def attribute(self) -> "dla.Attribution":
        """The logit difference of the two tokens, head by head."""
        attributor = dla.Attributor(self.load(), dla.HeadDecomposer())
        return attributor.attribute(self.prompt, dla.LogitDifference(self.answer, self.incorrect))


def _load_small() -> Any:
    from dla.demo import load_small

    return load_small("raw")


def _load_smollm2() -> Any:
    from dla.demo import load_smollm2

    return load_smollm2()


DemoModel = Literal["small", "smollm2"]
EXAMPLES: Mapping[DemoModel, DemoExample] = {
    "small": DemoExample(
        _load_small,
        "The model is small and synthetic: a GPT-2 of {layers} layers and {heads} heads,\n"
        "trained on made-up sentences, which this package carries.",
        "When Mary and John went to the store , John gave a drink to",
        " Mary",
        " John",
    ),
    "smollm2": DemoExample(
        _load_smollm2,
        "The model is SmolLM2-135M-Instruct: a Llama of {layers} layers and {heads} heads, by\n"
        "Hugging Face (Apache License 2.0).",
        "The Eiffel Tower is in the city of",
        " Paris",
        " Rome",
        sources=True,
    ),
}


def demo_command(
    model: Annotated[
        DemoModel,
        typer.Option(help="The small trained model that the package carries, or a real one: SmolLM2-135M-Instruct."),
    ] = "small",
) -> None:
    """Attribute a prompt head by head, and print the proof that the rows add up."""
    example = EXAMPLES[model]
    with loading("loading the model"):
        result = example.attribute()
        reads = [_strongest_source(result)] if example.sources else []
    print_report(Console(), example, result, reads)


def print_report(console: Console, example: DemoExample, result: "dla.Attribution", reads: Sequence[str] = ()) -> None:
    """Prints the question, the table and the conclusions.

    Args:
        console: Where to print.
        example: What was asked.
        result: What was found.
        reads: Sentences about what the strongest head reads.
    """
    heads = result.select(kind="head")
    about = example.about.format(layers=len({part.layer for part in heads.parts}), heads=len(heads.parts))
    console.print(
        as_printed(
            f"{about} The prompt:\n"
            f"  {example.prompt}\n"
            f"How much does each part favour{example.answer} over{example.incorrect} as the next word?\n"
        )
    )
    console.print(result.table())
    console.print(as_printed("\n".join([_strongest_heads(heads), *reads, _proof(result)])))


def _strongest_heads(heads: "dla.Attribution") -> str:
    """Names the heads that write at least half as much as the strongest one."""
    ranked = heads.top(len(heads.parts))
    named = [(label, value) for label, value in ranked if value >= ranked[0][1] / 2]
    words = " and ".join(f"{label} ({value:+.2f})" for label, value in named)
    return f"Strongest: {'head' if len(named) == 1 else 'heads'} {words}, of {float(heads.logit):+.2f} in all."


def _strongest_source(result: "dla.Attribution") -> str:
    """Names the token that the strongest head reads most of its value from."""
    heads = result.select(kind="head")
    ((head, value),) = heads.top(1)
    layer = heads.select(head).parts[0].layer
    assert layer is not None
    sources = result.refine(head, by=dla.SourceDecomposer(layers=[layer])).select(kind="source")
    ((label, part),) = sources.top(1)
    source = sources.select(label).parts[0].source
    assert source is not None
    return f"{head} reads {result.tokens[0][source]!r}: {part:+.2f} of its {value:+.2f} come from that token."


def _proof(result: "dla.Attribution") -> str:
    return (
        "The rows and the constant add up to the model's own logit difference:\n"
        f"gap {float(result.gap.abs()):.1e}, where rounding explains up to {float(result.tolerance):.1e}."
    )

"""`dla demo`: the main job on the model that the package carries."""

from rich.console import Console

from dla.attribution import Attribution
from dla.attributor import Attributor
from dla.cli.quiet import loading
from dla.decomposers import HeadDecomposer
from dla.demo import load
from dla.directions import LogitDifference

PROMPT = "When Mary and John went to the store , John gave a drink to"
ANSWER, INCORRECT = " Mary", " John"


def show_demo() -> None:
    """Loads the model, attributes the prompt and prints what was found."""
    with loading("loading the model"):
        attributor = Attributor(load("raw"), HeadDecomposer())
    print_report(Console(), attributor.attribute(PROMPT, LogitDifference(ANSWER, INCORRECT)))


def print_report(console: Console, result: Attribution) -> None:
    """The header, the table, and what it says."""
    heads = result.select(kind="head")
    layers = len({part.layer for part in heads.parts})
    console.print(
        f"The model is small and synthetic: a GPT-2 of {layers} layers and {len(heads.parts)} heads,\n"
        "trained on made-up sentences, which this package carries. The prompt:\n"
        f"  {PROMPT}\n"
        f"How much does each part favour{ANSWER} over{INCORRECT} as the next word?\n",
        highlight=False,
    )
    console.print(result.table())
    console.print(f"{_strongest(heads)}\n{_proof(result)}", highlight=False)


def _strongest(heads: Attribution) -> str:
    """Names the heads that come to at least half of what the strongest writes."""
    ranked = heads.top(len(heads.parts))
    named = [(label, value) for label, value in ranked if value >= ranked[0][1] / 2]
    words = " and ".join(f"{label} ({value:+.2f})" for label, value in named)
    return f"Strongest: {'head' if len(named) == 1 else 'heads'} {words}, of {float(heads.logit):+.2f} in all."


def _proof(result: Attribution) -> str:
    return (
        "The rows and the constant add up to the model's own logit difference:\n"
        f"gap {float(result.gap.abs()):.1e}, where rounding explains up to {float(result.tolerance):.1e}."
    )

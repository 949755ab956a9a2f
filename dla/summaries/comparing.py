"""Two results of one kind, side by side."""

from typing import overload

from dla.inputs.given import shown
from dla.results.attribution import Attribution
from dla.results.difference import Difference
from dla.summaries.comparison import Comparison
from dla.summaries.summary import Summary


@overload
def compare(first: Attribution, second: Attribution) -> Difference: ...


@overload
def compare(first: Summary, second: Summary) -> Comparison: ...


@overload
def compare(first: object, second: object) -> Difference | Comparison: ...


def compare(first: object, second: object) -> Difference | Comparison:
    """Two results side by side, aligned by the labels of their rows; differences are the first minus the second.

    Args:
        first: An `Attribution`, or the `Summary` of a sweep.
        second: Another of the same kind: of other prompts, of another direction, of another model or checkpoint, or of
            a run with edits.

    Raises:
        TypeError: If they are not two results of one kind.
        ValueError: If their rows do not stand for the same.

    Examples:
        >>> import dla, dla.demo
        >>> attributor = dla.Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer())
        >>> prompt = "When Mary and John went to the store , John gave a drink to"
        >>> plain = attributor.attribute(prompt, dla.Logit(" Mary"))
        >>> edited = attributor.attribute(prompt, dla.Logit(" Mary"), edits=[dla.Edit("L0H0", dla.Zero())])
        >>> dla.compare(plain, edited).top(1)[0][0]
        'L1H1'
    """
    if isinstance(first, Attribution) and isinstance(second, Attribution):
        return first - second
    if isinstance(first, Summary) and isinstance(second, Summary):
        return first.compare(second)
    raise TypeError(f"compare takes two attributions or two summaries, not {shown(first)} and {shown(second)}.")

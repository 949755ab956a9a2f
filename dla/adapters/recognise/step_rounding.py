"""What a step of the model rounds away, as a write, where the model is in half precision."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from dla.adapters.recognise.match import Step, explained
from dla.adapters.recognise.recording import Recording
from dla.labels import Label
from dla.writes import Computation, Precision, Rounding, Write, is_half
from dla.writes.routes import DIRECT, Route
from dla.writes.sites import Site


def rounding_of_step(
    step: Step,
    seen: Site,
    labels: Sequence[Label],
    recording: Recording,
    route: Route = DIRECT,
) -> tuple[Write, ...]:
    """A write of what a step rounds away; no write where all is in float32 or finer.

    Args:
        step: The step, by which what was seen is explained.
        seen: Where its result is read.
        labels: The write's.
        recording: What was seen.
        route: From the result to the stream.
    """
    reads = step(Precision.of(recording.hooks[seen.name].dtype)).reads
    dtypes = recording.dtypes((seen, *reads))
    if not any(map(is_half, dtypes)):
        return ()
    computation = explained(step, recording.at(reads), recording.read(seen), *dtypes)
    assert computation is not None
    return rounding_of(computation, seen, labels, recording, route)


def rounding_of(
    computation: Computation,
    seen: Site,
    labels: Sequence[Label],
    recording: Recording,
    route: Route = DIRECT,
    weight: Float[Tensor, "part d_in d_model"] | None = None,
) -> tuple[Write, ...]:
    """As `rounding_of_step`, of a step by which what was seen is explained already.

    Args:
        computation: The step.
        seen: As in `rounding_of_step`.
        labels: As in `rounding_of_step`.
        recording: As in `rounding_of_step`.
        route: As in `rounding_of_step`.
        weight: As in `Rounding`.
    """
    # In float32 the loss is within the tolerance of the sum: to measure it would cost time and show nothing.
    if not any(map(is_half, recording.dtypes((seen, *computation.reads)))):
        return ()
    return (Rounding(computation, seen, labels, weight, route),)

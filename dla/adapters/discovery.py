"""From a look at a model to its anatomy."""

from collections.abc import Callable

from jaxtyping import Int
from torch import Tensor

from dla.adapters.anatomy import Anatomy
from dla.adapters.faithful import departures, replaced_modules
from dla.adapters.parts import Parts
from dla.adapters.probe import Probe, take_probe
from dla.adapters.readout import check_causal, coarsest_dtype, least_unit, recognise_unembedding
from dla.adapters.recognise import Mix
from dla.adapters.silent import silent_outputs, speaking
from dla.adapters.stream import recognise_blocks, recognise_mixes, recognise_stream
from dla.adapters.taps import HookPoints
from dla.errors import DLAError, UnsupportedModelError


def discover(
    parts: Parts,
    hook_points: HookPoints,
    forward: Callable[[Int[Tensor, "batch pos"]], Tensor],
    tokens: Int[Tensor, "batch pos"],
) -> Anatomy:
    """What the model is made of, found by running it on a few tokens and looking.

    Args:
        parts: The model's modules.
        hook_points: Its hook points, by name.
        forward: Runs it on token ids.
        tokens: Two prompts that begin alike, as `probe_tokens` makes them.

    Raises:
        UnsupportedModelError: If the model does not run, or cannot be attributed exactly; says why.
    """
    probe = _run(parts, hook_points, forward, tokens)
    check_causal(probe)
    stream = recognise_stream(parts, probe)
    unembedding = recognise_unembedding(parts, probe, stream)
    embeddings, blocks = recognise_blocks(parts, probe, stream, _mixes(parts, hook_points, forward, probe))
    replaced = replaced_modules(parts, forward, tokens)
    return Anatomy(
        name=parts.name,
        embeddings=embeddings,
        blocks=blocks,
        unembedding=unembedding,
        eps=least_unit(parts, probe, unembedding.norm),
        dtype=coarsest_dtype(probe),
        departures=departures(replaced, probe, unembedding, parts),
        compatibility=parts.compatibility,
    )


def _mixes(
    parts: Parts, hook_points: HookPoints, forward: Callable[[Int[Tensor, "batch pos"]], Tensor], probe: Probe
) -> list[Mix | None]:
    """How each block's output is made, also where a sublayer had nothing to write on the probe."""
    silent = silent_outputs(parts, hook_points, probe)
    if silent:
        probe = _run(parts, hook_points, speaking(forward, silent), probe.tokens)
    return recognise_mixes(parts, probe)


def _run(
    parts: Parts,
    hook_points: HookPoints,
    forward: Callable[[Int[Tensor, "batch pos"]], Tensor],
    tokens: Int[Tensor, "batch pos"],
) -> Probe:
    try:
        return take_probe(hook_points, parts.watched(), forward, tokens)
    except DLAError:
        raise
    except Exception as error:
        raise UnsupportedModelError(
            f"The model does not run on {tokens.shape[1]} tokens: {type(error).__name__}: {error}. "
            "Make sure that a plain forward pass works first."
        ) from error

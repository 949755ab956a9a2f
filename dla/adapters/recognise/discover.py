"""From one small forward pass to a model's anatomy: everything that is recognised, in order."""

from jaxtyping import Int
from torch import Tensor

from dla.adapters.anatomy import Anatomy
from dla.adapters.module_inputs import HookPoints
from dla.adapters.reads import ModelReads
from dla.adapters.recognise.block_sums import BlockSum, recognise_block_sums
from dla.adapters.recognise.checkpoint import mismatches, replaced_modules
from dla.adapters.recognise.copies import check_copies
from dla.adapters.recognise.finite import check_finite
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.recognise.negligible import negligible_outputs, with_random_outputs
from dla.adapters.recognise.offloaded import offloaded_weights
from dla.adapters.recognise.quantised import check_activations
from dla.adapters.recognise.reads import recognise_reads
from dla.adapters.recognise.recording import Forward, Recording, record_run
from dla.adapters.recognise.stream import recognise_blocks, recognise_stream
from dla.adapters.recognise.unembedding import check_causal, coarsest_dtype, least_unit, recognise_unembedding
from dla.errors import DLAError, UnsupportedModelError


class DoesNotRunError(UnsupportedModelError):
    """A plain forward pass fails."""


def discover(
    model: ModelModules,
    hook_points: HookPoints,
    forward: Forward,
    tokens: Int[Tensor, "batch pos"],
) -> Anatomy:
    """What the model is made of, found by running it on a few tokens.

    Args:
        model: The model's modules.
        hook_points: Its hook points, by name.
        forward: The model.
        tokens: Two prompts that begin alike, as `tokens_to_record` makes them.

    Raises:
        DoesNotRunError: If the model does not run.
        UnsupportedModelError: If it cannot be attributed exactly; says why.
    """
    check_activations(model)
    recording = _run(model, hook_points, forward, tokens)
    check_finite(model, recording)
    check_causal(recording)
    stream = recognise_stream(model, recording)
    block_sums = _block_sums(model, hook_points, forward, recording)
    with offloaded_weights(*model.by_path().values()):
        unembedding = recognise_unembedding(model, recording, stream)
        embeddings, blocks = recognise_blocks(model, recording, stream, block_sums)
    check_copies(model, forward, tokens)
    replaced = replaced_modules(model, recording)
    return Anatomy(
        name=model.name,
        embeddings=embeddings,
        blocks=blocks,
        unembedding=unembedding,
        eps=least_unit(recording, unembedding),
        dtype=coarsest_dtype(recording),
        mismatches=mismatches(replaced, recording, unembedding, model),
        compatibility=model.compatibility,
    )


def discover_reads(
    model: ModelModules,
    hook_points: HookPoints,
    forward: Forward,
    tokens: Int[Tensor, "batch pos"],
    anatomy: Anatomy,
) -> ModelReads:
    """What the model's sublayers read, found by one more run.

    Args:
        model: The model's modules.
        hook_points: Its hook points, by name.
        forward: The model.
        tokens: As in `discover`.
        anatomy: The model's.

    Raises:
        DoesNotRunError: If the model does not run.
    """
    recording = _run(model, hook_points, forward, tokens)
    with offloaded_weights(*model.by_path().values()):
        return recognise_reads(model, recording, anatomy)


def _block_sums(
    model: ModelModules,
    hook_points: HookPoints,
    forward: Forward,
    recording: Recording,
) -> list[BlockSum | None]:
    """How each block's output is made, also where a sublayer wrote nothing on the recording."""
    negligible = negligible_outputs(model, hook_points, recording)
    if negligible:
        recording = _run(model, hook_points, with_random_outputs(forward, negligible), recording.tokens)
    stream = recognise_stream(model, recording)
    return recognise_block_sums(model, recording, stream.before, stream.after)


def _run(
    model: ModelModules,
    hook_points: HookPoints,
    forward: Forward,
    tokens: Int[Tensor, "batch pos"],
) -> Recording:
    try:
        return record_run(hook_points, model.by_path(), forward, tokens)
    except DLAError:
        raise
    except Exception as error:
        raise DoesNotRunError(
            f"The model does not run on {tokens.shape[1]} tokens: {type(error).__name__}: {error}. "
            "Make sure that a plain forward pass works first."
        ) from error

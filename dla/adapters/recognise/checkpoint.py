"""Whether a bridge still computes what Hugging Face's own modules compute.

TransformerLens re-implements attention, and its compatibility mode rewrites weights. Where that changes the model, an
attribution is exact for the model that runs, and not for the checkpoint that the user loaded; it must say so.
"""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from dla.adapters.recognise.match import constant_factor, tensor_of
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.recognise.recording import ModuleCall, Recording, first_tensor, widened, wrapped_module
from dla.adapters.unembedding import Unembedding
from dla.tolerances import MODULE_TOLERANCE


def replaced_modules(model: ModelModules, recording: Recording) -> list[str]:
    """The paths of modules whose output is not that of the Hugging Face module that they wrap.

    The wrapped module is called with what went into the module on the recording, unless it was called with that then.
    One that cannot be called with it is left out.

    Args:
        model: The model's modules.
        recording: What was seen.
    """
    comparable = (path for path, module in model.by_path().items() if _is_comparable(module, model))
    return [path for path in comparable if path in recording.calls and not _agrees(path, model, recording)]


def mismatches(
    replaced: list[str], recording: Recording, unembedding: Unembedding, model: ModelModules
) -> tuple[str, ...]:
    """Sentences that say how the model that runs differs from the checkpoint; empty where nothing was found.

    Args:
        replaced: What `replaced_modules` found.
        recording: What was seen.
        unembedding: The readout.
        model: The model's modules.
    """
    found = []
    if replaced:
        found.append(
            f"TransformerLens' {replaced[0]} does not compute what Hugging Face's own module computes from the same "
            "input, so this bridge is not the checkpoint that it was made from. "
            + (
                "Attribute the raw bridge instead."
                if model.compatibility
                else "Another version of it may have it right."
            )
        )
    if model.compatibility:
        causes = (_sinks(recording, model), _capped(recording, unembedding), _stream_through_norm(recording, model))
        found += [text for text in causes if text is not None]
    return tuple(found)


def _sinks(recording: Recording, model: ModelModules) -> str | None:
    """Value biases folded into `b_O` although attention rows sum to less than 1."""
    for i, children in enumerate(model.children):
        pattern, attn = recording.hooks.get(f"blocks.{i}.attn.hook_pattern"), children.get("attn")
        if pattern is None or attn is None or not bool((pattern.sum(-1) < 0.999).any()):
            continue
        b_V = tensor_of(attn, "b_V")
        if b_V is not None and not bool(b_V.any()):
            return (
                "Compatibility mode has folded the value biases into b_O, and this model has attention sinks: its "
                "attention rows sum to less than 1, so the folded bias is too large. Attribute the raw bridge instead, "
                "or pass fold_value_biases=False."
            )
    return None


def _capped(recording: Recording, unembedding: Unembedding) -> str | None:
    """An unembedding centred although the logits pass a soft cap, which does not commute with a shift."""
    W_U, logits = widened(unembedding.W_U.detach()), recording.outputs["unembed"]
    centred = bool(W_U.mean(1).abs().max() <= MODULE_TOLERANCE[unembedding.W_U.dtype] * W_U.abs().max())
    if centred and constant_factor(logits, recording.logits) is None:
        return (
            "Compatibility mode has centred the unembedding, and this model caps its logits: the cap sees shifted "
            "logits, so what the model returns is not what the checkpoint returns. Attribute the raw bridge instead, "
            "or pass center_unembed=False."
        )
    return None


def _stream_through_norm(recording: Recording, model: ModelModules) -> str | None:
    """A norm's weight folded into what reads the norm, where the stream itself continues from the norm's output."""
    for i, children in enumerate(model.children):
        after = recording.hooks[f"blocks.{i}.hook_resid_post"]
        writes = [recording.hooks.get(f"blocks.{i}.{hook}") for hook in ("hook_attn_out", "hook_mlp_out")]
        rests = [after - write for write in writes if write is not None and write.shape == after.shape]
        for child in (name for name in children if f"blocks.{i}.{name}.hook_scale" in recording.hooks):
            output = recording.outputs.get(f"blocks.{i}.{child}")
            if output is not None and any(_alike(output, rest) for rest in rests):
                return (
                    f"Compatibility mode has folded the weight of blocks.{i}.{child} into what reads it, but in this "
                    "model the residual stream itself continues from that norm's output. Attribute the raw bridge "
                    "instead, or pass fold_ln=False."
                )
    return None


def _is_comparable(module: nn.Module, model: ModelModules) -> bool:
    return wrapped_module(module) is not None and (not model.compatibility or _shares_weights(module))


def _shares_weights(module: nn.Module) -> bool:
    """Whether a bridge works with the weights of the module that it wraps.

    Where TransformerLens splits a fused matrix (GPT-2's `c_attn`) it works with copies. Compatibility mode processes
    the copies and not the module, whose output then says nothing about the bridge.
    """
    original = wrapped_module(module)
    if original is None:
        return False
    own = {id(inner) for inner in original.modules()}
    return all(id(part) in own for inner in module.modules() if (part := wrapped_module(inner)) is not None)


def _agrees(path: str, model: ModelModules, recording: Recording) -> bool:
    call = recording.calls[path]
    expected = _output_of_wrapped(path, model, recording)
    if expected is None or call.output is None or expected.shape != call.output.shape:
        return True
    return _alike(expected, call.output)


def _output_of_wrapped(path: str, model: ModelModules, recording: Recording) -> Shaped[Tensor, "..."] | None:
    """What the wrapped module makes of the module's inputs; None if it cannot be called with them."""
    call, inner = recording.calls[path], recording.wrapped.get(path)
    if inner is not None and _only_one(call) and _only_one(inner) and torch.equal(call.args[0], inner.args[0]):
        return inner.output
    original = wrapped_module(model.by_path()[path])
    assert original is not None
    try:
        with torch.no_grad():
            return first_tensor(original(*call.args, **call.kwargs))
    except Exception:  # a module of Hugging Face may refuse the inputs for any reason
        return None


def _only_one(call: ModuleCall) -> bool:
    """Whether a module was called with one tensor and nothing else."""
    return len(call.args) == 1 and isinstance(call.args[0], Tensor) and not call.kwargs


def _alike(left: Float[Tensor, "..."], right: Float[Tensor, "..."]) -> bool:
    """Whether two ways to compute one thing agree at each token, up to the rounding of many steps between them."""
    if left.shape != right.shape:
        return False
    slack = max(MODULE_TOLERANCE[left.dtype], MODULE_TOLERANCE[right.dtype])
    left, right = widened(left), widened(right)
    size = torch.maximum(left.abs().amax(-1), right.abs().amax(-1))
    return bool(((left - right).abs().amax(-1) <= slack * size).all())

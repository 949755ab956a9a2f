"""Whether a bridge still computes what Hugging Face's own modules compute.

TransformerLens re-implements attention, and its compatibility mode rewrites weights. Where that changes the model, an
attribution is exact for the model that runs, and not for the checkpoint that the user loaded; it must say so.
"""

import contextlib
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dla.adapters.recognise.match import constant_factor, tensor_of
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.recognise.recording import Forward, Recording, first_tensor, widened
from dla.adapters.unembedding import Unembedding
from dla.inputs.given import is_a
from dla.tolerances import MODULE_TOLERANCE


def replaced_modules(
    model: ModelModules,
    forward: Forward,
    tokens: Int[Tensor, "batch pos"],
) -> list[str]:
    """The paths of modules whose output is not that of the Hugging Face module that they wrap.

    Each module's inputs are recorded in one pass and given to the wrapped module again. One that cannot be called with
    them is left out.

    Args:
        model: The model's modules.
        forward: The model.
        tokens: The ids.
    """
    given: dict[str, tuple[Any, Any]] = {}
    calls: dict[str, tuple[Any, Any, Any]] = {}

    originals = {path: module for path, module in model.by_path().items() if _is_comparable(module, model)}
    with torch.no_grad(), contextlib.ExitStack() as stack:
        for path, module in originals.items():
            stack.callback(module.register_forward_pre_hook(partial(_take, given, path), with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(partial(_record, given, calls, path)).remove)
        forward(tokens)
    return [path for path, call in calls.items() if not _agrees(_original(originals[path]), call)]


def _take(given: dict[str, Any], path: str, _: nn.Module, args: Any, kwargs: Any) -> None:
    given[path] = (tuple(_kept(arg) for arg in args), {name: _kept(arg) for name, arg in kwargs.items()})


def _record(given: dict[str, Any], calls: dict[str, Any], path: str, _: nn.Module, args: Any, output: Any) -> None:
    calls[path] = (*given[path], _kept(first_tensor(output)))


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


def _kept(value: Any) -> Any:
    """A copy of a tensor, since a later module may write into it; anything else as it is.

    No key-value cache: it would add the tokens of the second call to those of the first.
    """
    if is_a(value, "transformers", "Cache"):
        return None
    return value.clone() if isinstance(value, Tensor) else value


def _is_comparable(module: nn.Module, model: ModelModules) -> bool:
    return _original(module) is not None and (not model.compatibility or _shares_weights(module))


def _shares_weights(module: nn.Module) -> bool:
    """Whether a bridge works with the weights of the module that it wraps.

    Where TransformerLens splits a fused matrix (GPT-2's `c_attn`) it works with copies. Compatibility mode processes
    the copies and not the module, whose output then says nothing about the bridge.
    """
    original = _original(module)
    if original is None:
        return False
    own = {id(inner) for inner in original.modules()}
    return all(id(part) in own for inner in module.modules() if (part := _original(inner)) is not None)


def _original(module: nn.Module) -> nn.Module | None:
    original = getattr(module, "original_component", None)
    return original if isinstance(original, nn.Module) else None


def _agrees(original: nn.Module | None, call: tuple[Any, Any, Any]) -> bool:
    args, kwargs, output = call
    assert original is not None
    try:
        with torch.no_grad():
            expected = first_tensor(original(*args, **kwargs))
    except Exception:  # a module of Hugging Face may refuse the inputs for any reason; then it cannot be compared
        return True
    if expected is None or output is None or expected.shape != output.shape:
        return True
    return _alike(expected, output)


def _alike(left: Float[Tensor, "..."], right: Float[Tensor, "..."]) -> bool:
    """Whether two ways to compute one thing agree at each token, up to the rounding of many steps between them."""
    if left.shape != right.shape:
        return False
    slack = max(MODULE_TOLERANCE[left.dtype], MODULE_TOLERANCE[right.dtype])
    left, right = widened(left), widened(right)
    size = torch.maximum(left.abs().amax(-1), right.abs().amax(-1))
    return bool(((left - right).abs().amax(-1) <= slack * size).all())

"""The readout, recognised: final norm, unembedding, output transform."""

from functools import partial

import torch
from torch import Tensor

from dla.adapters.anatomy import ReadoutRounding, Unembedding
from dla.adapters.parts import Parts
from dla.adapters.probe import Probe, widened
from dla.adapters.recognise import constant_factor, explained, explains_norm, miss, recognise_norm
from dla.adapters.stream import Stream
from dla.errors import UnsupportedModelError
from dla.routes import Norm
from dla.sites import Site
from dla.writes import Addition, Normed, Precision, Product, Shown, is_half, precisions_of

_NOISE = 64.0
"""How many rounding units of its largest logit a causal model's answers to two prompts that begin alike may differ by:
nearly always none, but a mixture of experts sorts its tokens, and then adds up in another order."""


def check_causal(probe: Probe) -> None:
    """Refuses a model in which a token changes what is said before it.

    Raises:
        UnsupportedModelError: If it does.
    """
    different = (probe.tokens[0] != probe.tokens[1]).nonzero()
    shared = int(different[0]) if len(different) else probe.tokens.shape[1]
    first, second = widened(probe.logits[:, :shared])
    unit = precisions_of(probe.logits.dtype, torch.float32)[-1].unit
    if not bool((first - second).abs().max() <= _NOISE * unit * first.abs().max()):
        raise UnsupportedModelError(
            "A token changes the logits at positions before it, so this model is not a causal decoder. "
            "Direct logit attribution is defined here for decoders: pass a causal language model."
        )


def recognise_unembedding(parts: Parts, probe: Probe, stream: Stream) -> Unembedding:
    """How the last stream becomes logits.

    Raises:
        UnsupportedModelError: If the logits are not linear in the stream given the final norm's scale.
    """
    norm = None
    normed = entered = probe.inputs["unembed"]
    if parts.ln_final is not None:
        norm = recognise_norm("ln_final", parts.ln_final, probe, parts.centred)
        normed = probe.outputs["ln_final"]
        if norm is None:
            raise UnsupportedModelError(
                f"The final norm ({type(parts.ln_final).__name__}) is not a LayerNorm or RMSNorm given its scale, so "
                "the logits are not linear in the residual stream. This model cannot be attributed exactly."
            )
    multiplier = constant_factor(normed, entered)
    if multiplier is None:
        raise UnsupportedModelError(
            "Between the final norm and the unembedding the stream is transformed by more than a constant factor. "
            "This model cannot be attributed exactly."
        )
    logits = _check_product(parts, probe)
    transform = next((t for t in parts.transforms if _same_logits(t(widened(logits)), probe.logits)), None)
    return Unembedding(
        norm=norm,
        W_U=parts.W_U,
        b_U=parts.b_U,
        normalised=Site("unembed.hook_in"),
        logits=Site("unembed.hook_out"),
        transform=transform,
        multiplier=multiplier,
        rounding=_rounding(norm, multiplier, stream, probe),
        module=parts.unembed,
    )


def least_unit(parts: Parts, probe: Probe, norm: Norm | None) -> float:
    """The rounding unit of what is not measured. Hugging Face's RMSNorm computes in float32 whatever the dtype."""
    if parts.W_U.dtype != torch.float64 or is_half(coarsest_dtype(probe)):
        return torch.finfo(torch.float32).eps
    if norm is None:
        return torch.finfo(torch.float64).eps
    exact = explains_norm(norm, probe, probe.inputs["ln_final"], probe.outputs["ln_final"])
    in_double = isinstance(exact, Normed) and exact.precision == Precision.of(torch.float64)
    return torch.finfo(torch.float64 if in_double else torch.float32).eps


def coarsest_dtype(probe: Probe) -> torch.dtype:
    """The least exact dtype in which a block or the readout was given or gave a number."""
    dtypes = [seen.dtype for seen in (*probe.inputs.values(), *probe.outputs.values()) if seen.is_floating_point()]
    return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)


def _check_product(parts: Parts, probe: Probe) -> Tensor:
    """The unembedding's output, which is `x @ W_U + b_U`."""
    entered, logits = probe.inputs["unembed"], probe.outputs["unembed"]
    x = Site("unembed.hook_in")
    step = partial(Product, x, parts.W_U, parts.b_U)
    activations, dtypes = {x: widened(entered)}, (entered.dtype, parts.W_U.dtype)
    if explained(step, activations, logits, *dtypes) is None:
        raise UnsupportedModelError(
            "The unembedding's output is not `x @ W_U + b_U`: that "
            f"{miss(step, activations, logits, *dtypes)}. This model's logits cannot be attributed exactly."
        )
    return logits


def _same_logits(transformed: Tensor, returned: Tensor) -> bool:
    """Whether a transform gives what the model returned; it takes a few roundings, each of its own result."""
    precision = precisions_of(returned.dtype, torch.float32)[-1]
    slack = _TRANSFORMED * precision.unit * transformed.abs() + precision.least
    return transformed.shape == returned.shape and bool(((transformed - returned).abs() <= slack).all())


_TRANSFORMED = 8.0
"""How many roundings an output transform may make: a division, a hyperbolic tangent, a product."""


def _rounding(norm: Norm | None, multiplier: float, stream: Stream, probe: Probe) -> ReadoutRounding | None:
    """How the readout rounds, where it does so in half precision."""
    entered, logits = probe.inputs["unembed"].dtype, probe.outputs["unembed"].dtype
    last = stream.after[-1]
    if not any(is_half(dtype) for dtype in (entered, logits, last.dtype)):
        return None
    site, onward = Site(stream.ends[-1]), stream.onward[-1]
    precision = precisions_of(entered, last.dtype, torch.float32)[-1]
    if norm is None:
        return ReadoutRounding(Addition([(site, onward * multiplier)], precision), Precision.of(logits))
    x = Shown(site) if onward == 1.0 else Addition([(site, onward)], precision)
    return ReadoutRounding(Normed(x, norm, precision, multiplier), Precision.of(logits))

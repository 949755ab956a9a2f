"""The readout, recognised: final norm, unembedding, output transform."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dla.adapters.recognise.linear import Linear, candidate_linears
from dla.adapters.recognise.match import constant_factor, explained, explains_norm, miss_of_step, recognise_norm
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.recognise.recording import Recording, widened
from dla.adapters.recognise.stream import Stream
from dla.adapters.unembedding import Unembedding, UnembeddingRounding
from dla.errors import UnsupportedModelError
from dla.writes import Addition, HookValue, NormOutput, Precision, Product, is_half, precisions_of
from dla.writes.routes import Norm
from dla.writes.sites import Site

_NOISE = 64.0
"""How many rounding units of its largest logit a causal model's answers to two prompts that begin alike may differ by:
nearly always none, but a mixture of experts sorts its tokens, and then adds up in another order."""


def check_causal(recording: Recording) -> None:
    """Refuses a model in which a token changes what is said before it.

    Raises:
        UnsupportedModelError: If it does.
    """
    different = (recording.tokens[0] != recording.tokens[1]).nonzero()
    shared = int(different[0]) if len(different) else recording.tokens.shape[1]
    first, second = widened(recording.logits[:, :shared])
    unit = precisions_of(recording.logits.dtype, torch.float32)[-1].unit
    if not bool((first - second).abs().max() <= _NOISE * unit * first.abs().max()):
        raise UnsupportedModelError(
            "A token changes the logits at positions before it, so this model is not a causal decoder. "
            "Direct logit attribution is defined here for decoders: pass a causal language model."
        )


def recognise_unembedding(model: ModelModules, recording: Recording, stream: Stream) -> Unembedding:
    """How the last stream becomes logits.

    Raises:
        UnsupportedModelError: If the logits are not linear in the stream given the final norm's scale.
    """
    norm = None
    normed = entered = recording.inputs["unembed"]
    if model.ln_final is not None:
        norm = recognise_norm("ln_final", model.ln_final, recording, model.centred)
        normed = recording.outputs["ln_final"]
        if norm is None and constant_factor(recording.inputs["ln_final"], normed) is not None:
            normed = recording.inputs[
                "ln_final"
            ]  # TransformerLens' own models without norms have one that does nothing
        elif norm is None:
            raise UnsupportedModelError(
                f"The final norm ({type(model.ln_final).__name__}) is not a LayerNorm or RMSNorm given its scale, so "
                "the logits are not linear in the residual stream. This model cannot be attributed exactly."
            )
    multiplier = constant_factor(normed, entered)
    if multiplier is None:
        raise UnsupportedModelError(
            "Between the final norm and the unembedding the stream is transformed by more than a constant factor. "
            "This model cannot be attributed exactly."
        )
    linear, product = _product(model, recording)
    logits = widened(recording.outputs["unembed"])
    transform = next((t for t in model.transforms if _same_logits(t(logits), recording.logits)), None)
    return Unembedding(
        norm=norm,
        W_U=linear.weight,
        b_U=linear.bias,
        normalised=product.x,
        logits=Site("unembed.hook_out"),
        transform=transform,
        multiplier=multiplier,
        rounding=_rounding(norm, multiplier, stream, recording, product),
        module=model.unembed,
    )


def least_unit(recording: Recording, unembedding: Unembedding) -> float:
    """The rounding unit of what is not measured. Hugging Face's RMSNorm computes in float32 whatever the dtype."""
    norm = unembedding.norm
    if unembedding.W_U.dtype != torch.float64 or is_half(coarsest_dtype(recording)):
        return torch.finfo(torch.float32).eps
    if norm is None:
        return torch.finfo(torch.float64).eps
    exact = explains_norm(norm, recording, recording.inputs["ln_final"], recording.outputs["ln_final"])
    in_double = isinstance(exact, NormOutput) and exact.precision == Precision.of(torch.float64)
    return torch.finfo(torch.float64 if in_double else torch.float32).eps


def coarsest_dtype(recording: Recording) -> torch.dtype:
    """The least exact dtype in which a block or the readout was given or gave a number."""
    dtypes = [
        seen.dtype for seen in (*recording.inputs.values(), *recording.outputs.values()) if seen.is_floating_point()
    ]
    return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)


def _product(model: ModelModules, recording: Recording) -> tuple[Linear, Product]:
    """The weight and bias of the unembedding, and how its output is made with them."""
    entered, logits, missed = (
        recording.inputs["unembed"],
        recording.outputs["unembed"],
        "has no weight that could be read",
    )
    for linear in candidate_linears(model.unembed, model.unembed, "W_U", "b_U", entered.shape[-1]):
        for site in _enters(entered.dtype, linear.dtype):
            x = site.read(entered)
            step, activations, dtypes = linear.product(site), {site: widened(x)}, (x.dtype, linear.dtype)
            product = explained(step, activations, logits, *dtypes)
            if isinstance(product, Product):
                return linear, product
            missed = miss_of_step(step, activations, logits, *dtypes)
    kind = type(getattr(model.unembed, "original_component", model.unembed))
    raise UnsupportedModelError(
        f"The unembedding's output is not `x @ W_U + b_U`: that of {kind.__module__}.{kind.__name__} "
        f"{missed}. This model's logits cannot be attributed exactly; attribute it with a linear unembedding that is "
        "not quantised."
    )


def _enters(stream: torch.dtype, weight: torch.dtype) -> list[Site]:
    """What is multiplied by the weight: what the hook shows, perhaps cast to a coarser dtype first."""
    shown = Site("unembed.hook_in")
    coarser = is_half(weight) and weight != stream
    return [shown, Site("unembed.hook_in", read=_Cast(weight))] if coarser else [shown]


@final
@dataclass(frozen=True)
class _Cast:
    """An activation in another dtype."""

    dtype: torch.dtype

    def __call__(self, activation: Tensor) -> Tensor:
        return activation.to(self.dtype)


def _same_logits(transformed: Tensor, returned: Tensor) -> bool:
    """Whether a transform gives what the model returned; it takes a few roundings, each of its own result."""
    precision = precisions_of(returned.dtype, torch.float32)[-1]
    slack = _TRANSFORMED * precision.unit * transformed.abs() + precision.least
    return transformed.shape == returned.shape and bool(((transformed - returned).abs() <= slack).all())


_TRANSFORMED = 8.0
"""How many roundings an output transform may make: a division, a hyperbolic tangent, a product."""


def _rounding(
    norm: Norm | None, multiplier: float, stream: Stream, recording: Recording, product: Product
) -> UnembeddingRounding | None:
    """How the readout rounds, where it does so in half precision."""
    entered, logits = product.x.read(recording.inputs["unembed"]).dtype, recording.outputs["unembed"].dtype
    last = stream.after[-1]
    if not any(is_half(dtype) for dtype in (entered, logits, last.dtype)):
        return None
    site, onward = Site(stream.ends[-1]), stream.onward[-1]
    precision = precisions_of(entered, last.dtype, torch.float32)[-1]
    if norm is None:
        return UnembeddingRounding(Addition([(site, onward * multiplier)], precision), product.precision)
    x = HookValue(site) if onward == 1.0 else Addition([(site, onward)], precision)
    return UnembeddingRounding(NormOutput(x, norm, precision, multiplier), product.precision)

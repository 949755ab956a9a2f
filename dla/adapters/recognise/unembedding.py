"""The readout, recognised: final norm, unembedding, output transform."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.recognise.linear import Linear, candidate_linears
from dla.adapters.recognise.match import constant_factor, explained, miss_of_step
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.recognise.norms import explains_norm, recognise_norm
from dla.adapters.recognise.recording import Recording, widened
from dla.adapters.recognise.stream import Stream
from dla.adapters.unembedding import Unembedding, UnembeddingRounding
from dla.errors import UnsupportedModelError
from dla.writes import Addition, HookValue, NormOutput, Precision, Product, is_half, precisions_of
from dla.writes.routes import Norm
from dla.writes.sites import Site

# How far the logits of a causal model may differ where two prompts are the same, in rounding units of the largest.
# Nearly always they are equal; but a mixture of experts sorts its tokens, and then adds them up in another order.
_NOISE = 64.0


# How many roundings of its result an output transform may make: a division, a hyperbolic tangent, a product.
_TRANSFORM_ROUNDINGS = 8.0


def check_causal(recording: Recording) -> None:
    """Refuses a model in which a token changes the logits at positions before it.

    Raises:
        UnsupportedModelError: If the logits of the two prompts differ where the prompts are still the same.
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

    Args:
        model: The model's modules.
        recording: What was seen.
        stream: The stream.

    Raises:
        UnsupportedModelError: If the logits are not linear in the stream given the final norm's scale.
    """
    norm = None
    normed = entered = recording.inputs["unembed"]
    if model.ln_final is not None:
        norm = recognise_norm("ln_final", model.ln_final, recording, model.centred)
        normed = recording.outputs["ln_final"]
        if norm is None and constant_factor(recording.inputs["ln_final"], normed) is not None:
            # TransformerLens' own bridge without norms has a module in the place of one, which does nothing.
            normed = recording.inputs["ln_final"]
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
    """The rounding unit of the least exact step that is not measured as a row of its own."""
    norm = unembedding.norm
    # What half precision loses is a row, so float32 remains, the precision in which everything is contracted.
    if unembedding.W_U.dtype != torch.float64 or is_half(coarsest_dtype(recording)):
        return torch.finfo(torch.float32).eps
    if norm is None:
        return torch.finfo(torch.float64).eps
    # Hugging Face's RMSNorm computes in float32 also where the model is in float64.
    exact = explains_norm(norm, recording, recording.inputs["ln_final"], recording.outputs["ln_final"])
    in_double = isinstance(exact, NormOutput) and exact.precision == Precision.of(torch.float64)
    return torch.finfo(torch.float64 if in_double else torch.float32).eps


def coarsest_dtype(recording: Recording) -> torch.dtype:
    """The least exact dtype of an input or output of a block's modules or of the readout."""
    seen = (*recording.inputs.values(), *recording.outputs.values())
    dtypes = [tensor.dtype for tensor in seen if tensor.is_floating_point()]
    return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)


def _product(model: ModelModules, recording: Recording) -> tuple[Linear, Product]:
    """The weight and bias of the unembedding, and how its output is made with them."""
    entered, logits = recording.inputs["unembed"], recording.outputs["unembed"]
    missed = "has no weight that could be read"
    for linear in candidate_linears(model.unembed, model.unembed, "W_U", "b_U", entered.shape[-1]):
        for site in _input_sites(entered.dtype, linear.dtype):
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


def _input_sites(stream: torch.dtype, weight: torch.dtype) -> list[Site]:
    """Where what is multiplied by the weight may be read: at the hook, or cast to the weight's dtype after it."""
    shown = Site("unembed.hook_in")
    # A head in half precision may cast what enters it: the loss is then measured together with the final norm's.
    coarser = is_half(weight) and weight != stream
    return [shown, Site("unembed.hook_in", read=_Cast(weight))] if coarser else [shown]


@final
@dataclass(frozen=True)
class _Cast:
    """An activation in another dtype."""

    dtype: torch.dtype

    def __call__(self, activation: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return activation.to(self.dtype)


def _same_logits(transformed: Float[Tensor, "..."], returned: Float[Tensor, "..."]) -> bool:
    """Whether a transform gives the logits that the model returned."""
    precision = precisions_of(returned.dtype, torch.float32)[-1]
    slack = _TRANSFORM_ROUNDINGS * precision.unit * transformed.abs() + precision.least
    return transformed.shape == returned.shape and bool(((transformed - returned).abs() <= slack).all())


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

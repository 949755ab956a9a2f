"""The readout, recognised: final norm, unembedding, output transform."""

import torch

from dla.adapters.anatomy import Unembedding
from dla.adapters.parts import Parts
from dla.adapters.probe import SHARED, Probe
from dla.adapters.recognise import Judge, constant_factor, recognise_norm
from dla.errors import UnsupportedModelError
from dla.sites import Site


def check_causal(probe: Probe, judge: Judge) -> None:
    """Refuses a model in which a token changes what is said before it.

    Raises:
        UnsupportedModelError: If it does.
    """
    first, second = probe.logits[:, :SHARED]
    if not judge.same(first, second):
        raise UnsupportedModelError(
            "A token changes the logits at positions before it, so this model is not a causal decoder. "
            "Direct logit attribution is defined here for decoders: pass a causal language model."
        )


def recognise_unembedding(parts: Parts, probe: Probe, judge: Judge) -> Unembedding:
    """How the last stream becomes logits.

    Raises:
        UnsupportedModelError: If the logits are not linear in the stream given the final norm's scale.
    """
    norm = None
    entered, logits = probe.inputs["unembed"], probe.outputs["unembed"]
    normed = entered
    if parts.ln_final is not None:
        norm = recognise_norm("ln_final", parts.ln_final, probe, judge, parts.centred)
        normed = probe.outputs["ln_final"]
        if norm is None:
            raise UnsupportedModelError(
                f"The final norm ({type(parts.ln_final).__name__}) is not a LayerNorm or RMSNorm given its scale, so "
                "the logits are not linear in the residual stream. This model cannot be attributed exactly."
            )
    multiplier = constant_factor(normed, entered, judge)
    if multiplier is None:
        raise UnsupportedModelError(
            "Between the final norm and the unembedding the stream is transformed by more than a constant factor. "
            "This model cannot be attributed exactly."
        )
    expected = entered @ parts.W_U.detach().cpu().double()
    expected = expected if parts.b_U is None else expected + parts.b_U.detach().cpu().double()
    if not judge.same(expected, logits):
        raise UnsupportedModelError(
            "The unembedding's output is not `x @ W_U + b_U`. This model's logits cannot be attributed exactly."
        )
    transform = next((t for t in parts.transforms if judge.same(t(logits), probe.logits)), None)
    return Unembedding(
        norm=norm,
        W_U=parts.W_U,
        b_U=parts.b_U,
        normalised=Site("unembed.hook_in"),
        logits=Site("unembed.hook_out"),
        transform=transform,
        multiplier=multiplier,
        module=parts.unembed,
    )


def rounding(parts: Parts, probe: Probe, unembedding: Unembedding) -> float:
    """The model's rounding unit. Hugging Face's RMSNorm computes in float32 whatever the model's dtype."""
    eps = torch.finfo(parts.dtype).eps
    norm = unembedding.norm
    if parts.dtype != torch.float64 or norm is None:
        return eps
    x, y = probe.inputs["ln_final"], probe.outputs["ln_final"]
    scale = norm.scale.read(probe.hooks[norm.scale.name])
    exact = norm.push_forward(x, scale) + (0.0 if norm.bias is None else norm.bias.detach().cpu().double())
    return eps if Judge(1e-12).same(exact, y) else torch.finfo(torch.float32).eps

"""Models that run under the user's hooks: what was made of them, what is asked later, what is said where it fails."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from assertions import assert_close, size_of
from subjects import GPT2, LLAMA, Subject, params, some_tokens
from torch import Tensor

import dla
from dla import passes

SUBJECTS = params([GPT2, LLAMA, Subject("bridge", "gpt2", "processed"), Subject("hooked", "ln")])
Z, PRE, MLP = "blocks.1.attn.hook_z", "blocks.1.hook_resid_pre", "blocks.0.hook_mlp_out"
HEADS = dla.HeadDecomposer()
Hook = Callable[..., Tensor]


def zero(activation: Tensor, hook: Any) -> Tensor:
    return 0 * activation


def without_head(z: Tensor, hook: Any) -> Tensor:
    z = z.clone()
    z[:, :, 1] = 0
    return z


def steered(stream: Tensor, hook: Any) -> Tensor:
    return stream + torch.sin(torch.arange(stream.shape[-1], dtype=stream.dtype))


EDITS = [
    *((Z, without_head, HEADS), (MLP, zero, HEADS), ("blocks.1.attn.hook_pattern", zero, dla.SourceDecomposer())),
    *(("blocks.0.hook_attn_out", zero, dla.ComponentDecomposer()), ("hook_embed", steered, dla.NeuronDecomposer())),
]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_model_first_seen_under_hooks_is_known_as_it_is_without_them(subject: Subject) -> None:
    """Whatever the first attributor sees, the anatomy is the model's own, and the numbers those of the run."""
    tokens = some_tokens(1)
    plain = dla.Attributor(subject.model(), HEADS).attribute(tokens, dla.Logit(5))
    model = subject.fresh()
    for name, edit, decomposer in (*EDITS, (PRE, steered, HEADS)):
        with model.hooks(fwd_hooks=[(name, edit)]):
            attributor = dla.Attributor(model, decomposer)
            if name != PRE:
                result = attributor.attribute(tokens, dla.Logit(5))
                with torch.no_grad():
                    expected = model(tokens)[:, -1, 5]
                assert_close(result.output_logit, expected, size_of(result), subject.eps, name)
                assert not torch.allclose(result.logit, plain.logit)
    again = dla.Attributor(model, HEADS).attribute(tokens, dla.Logit(5))
    assert again.labels == plain.labels
    assert_close(again.values, plain.values, size_of(plain), subject.eps)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_pytorch_hooks_and_permanent_ones_do_not_poison_what_is_known(subject: Subject) -> None:
    tokens, model = some_tokens(1), subject.fresh()
    model.add_hook(Z, without_head, is_permanent=True)
    handles = [
        model.blocks[0].mlp.register_forward_hook(lambda _module, _args, output: 2 * output),
        model.ln_final.register_forward_pre_hook(lambda _module, args: (3 * args[0], *args[1:])),
    ]
    dla.Attributor(model, HEADS)
    for handle in handles:
        handle.remove()
    under = dla.Attributor(model, HEADS).attribute(tokens, dla.Logit(5))
    assert bool((under.select("L1H1").values == 0).all())
    model.reset_hooks(including_permanent=True)
    plain = dla.Attributor(subject.model(), HEADS).attribute(tokens, dla.Logit(5))
    assert_close(
        dla.Attributor(model, HEADS).attribute(tokens, dla.Logit(5)).values, plain.values, size_of(plain), 1e-6
    )

"""Features of the autoencoders and transcoders of SAELens, each built with weights of its own."""

from typing import Any

import pytest
import torch
from subjects import GPT2, LINE, some_tokens

import dla
import dla.demo
from dla.testing.assertions import assert_close
from dla.testing.laws.compare import sum_size

if LINE >= 4:
    pytest.skip("SAELens asks for TransformerLens < 4", allow_module_level=True)

import sae_lens
from sae_lens.analysis.hooked_sae_transformer import HookedSAETransformer
from sae_lens.analysis.sae_transformer_bridge import SAETransformerBridge
from sae_lens.saes.sae import SAEMetadata

D_MODEL = GPT2.model().cfg.d_model
MLP, Z = "blocks.1.hook_mlp_out", "blocks.1.attn.hook_z"


def built(kind: str, hook: str = MLP, d_in: int = D_MODEL, out: str | None = None, **settings: Any) -> Any:
    """An object of SAELens, every parameter drawn."""
    metadata = SAEMetadata(hook_name=hook) if out is None else SAEMetadata(hook_name=hook, hook_name_out=out)
    if out is not None:
        settings |= {"d_out": D_MODEL, "apply_b_dec_to_input": False}
    config = getattr(sae_lens, f"{kind}Config")(d_in=d_in, d_sae=30, metadata=metadata, **settings)
    sae = getattr(sae_lens, kind)(config)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.ndim == 1 else parameter.shape[0] ** -0.5))
    return sae


CASES: dict[str, Any] = {
    "standard": lambda: built("StandardSAE"),
    "standard, input as it is": lambda: built("StandardSAE", apply_b_dec_to_input=False),
    "standard, layer norm": lambda: built("StandardSAE", normalize_activations="layer_norm"),
    "standard, constant norm": lambda: built("StandardSAE", normalize_activations="constant_norm_rescale"),
    "JumpReLU of the stream": lambda: built("JumpReLUSAE", "blocks.0.hook_resid_post"),
    "top-k of the stream": lambda: built("TopKSAE", "blocks.1.hook_resid_mid", k=4),
    "top-k, rescaled": lambda: built("TopKSAE", k=4, rescale_acts_by_decoder_norm=True),
    "top-k, rescaled, layer norm": lambda: built(
        "TopKSAE", k=4, rescale_acts_by_decoder_norm=True, normalize_activations="layer_norm"
    ),
    "top-k by size": lambda: built("AbsTopKSAE", k=4),
    "gated of attention": lambda: built("GatedSAE", "blocks.0.hook_attn_out"),
    "z": lambda: built("StandardSAE", Z),
    "z by head": lambda: built("StandardSAE", Z, reshape_activations="hook_z"),
    "z by head, layer norm": lambda: built(
        "TopKSAE", Z, k=6, reshape_activations="hook_z", normalize_activations="layer_norm"
    ),
    "transcoder": lambda: built("Transcoder", "blocks.1.ln2.hook_normalized", out=MLP),
    "skip transcoder": lambda: built("SkipTranscoder", "blocks.1.ln2.hook_normalized", out=MLP),
    "JumpReLU transcoder": lambda: built("JumpReLUTranscoder", "blocks.1.ln2.hook_normalized", out=MLP),
}


@pytest.mark.parametrize("name", CASES)
def test_the_error_is_what_the_object_itself_leaves_unexplained(name: str) -> None:
    sae, model, tokens = CASES[name](), GPT2.model(), some_tokens(1)
    vector = torch.randn(D_MODEL)
    end = dla.ResidualVector(vector, at="blocks.1.hook_resid_post")
    result = dla.Attributor(model, dla.FeatureDecomposer(sae)).attribute(tokens, end, pos=None)
    reads = sae.cfg.metadata.hook_name
    writes = sae.cfg.metadata.hook_name_out or reads
    with torch.no_grad():
        cache = model.run_with_cache(tokens)[1]
        shown = cache[reads] if reads != Z or sae.hook_z_reshaping_mode else cache[reads].flatten(2)
        error = cache[writes].flatten(2) - sae(shown).flatten(2)
        if reads == Z:
            error = error @ model.blocks[1].attn.W_O.flatten(0, 1)
    row = result.select(kind="error").values[0]
    assert_close(row, error @ vector, sum_size(result), GPT2.eps, "the error")
    active = result.select(kind="feature").values != 0
    assert 0.0 < float(active.float().mean()) < 1.0


def test_whole_plans_with_features_at_several_layers() -> None:
    saes = [built("StandardSAE"), built("TopKSAE", Z, k=5), built("JumpReLUSAE", "blocks.0.hook_attn_out")]
    plan = dla.FeatureDecomposer(saes, top_k=3) | dla.NeuronDecomposer(layers=[0])
    result = dla.Attributor(GPT2.model(), plan).attribute(some_tokens(2), dla.Logit(5), pos=None)
    assert {"1_mlp_out_error", "1_z_error", "0_attn_out_error", "L0N0"} <= set(result.labels)


def test_a_rescaled_feature_writes_its_activation_along_the_unit_vector() -> None:
    sae, model, tokens, vector = CASES["top-k, rescaled"](), GPT2.model(), some_tokens(1), torch.randn(D_MODEL)
    end = dla.ResidualVector(vector, at="blocks.1.hook_resid_post")
    result = dla.Attributor(model, dla.FeatureDecomposer(sae)).attribute(tokens, end, pos=None)
    with torch.no_grad():
        features = sae.encode(model.run_with_cache(tokens)[1][MLP])
        unit = sae.W_dec / sae.W_dec.norm(dim=-1, keepdim=True)
        expected = (features * (unit @ vector)).movedim(-1, 0)
    assert_close(result.select(kind="feature").values, expected, sum_size(result), GPT2.eps, "the features")


@pytest.mark.parametrize("kind", ["BatchTopKTrainingSAE", "MatryoshkaBatchTopKTrainingSAE"])
def test_a_dictionary_in_training_that_chooses_over_the_batch_is_refused(kind: str, tmp_path: Any) -> None:
    settings = {"matryoshka_widths": [10, 30]} if kind.startswith("Matryoshka") else {}
    sae = built(kind, k=4, **settings)
    with pytest.raises(
        dla.UnsupportedModelError, match=r"save_inference_model\(path\), then SAE\.load_from_disk\(path"
    ):
        dla.FeatureDecomposer(sae)
    sae.save_inference_model(tmp_path)
    inference = sae_lens.SAE.load_from_disk(tmp_path)
    assert type(inference).__name__ == "JumpReLUSAE"
    dla.Attributor(GPT2.model(), dla.FeatureDecomposer(inference)).attribute(some_tokens(1), dla.Logit(5))


def test_a_dictionary_of_one_head_is_refused() -> None:
    sae = built("StandardSAE", Z)
    sae.cfg.metadata.hook_head_index = 1
    with pytest.raises(ValueError, match=r"explains one head \(hook_head_index=1\) of a hook that shows all"):
        dla.FeatureDecomposer(sae)


def with_saes(kind: str) -> Any:
    """The demo model as SAELens' own class."""
    if kind == "hooked":
        plain = dla.demo.load_small("hooked")
        model = HookedSAETransformer(plain.cfg, tokenizer=plain.tokenizer)
        model.load_state_dict(plain.state_dict(), strict=False)
        return model.eval()
    model = dla.demo.load_small("raw")
    model.__class__, model._acts_to_saes, model._transcoder_output_hooks = SAETransformerBridge, {}, {}
    return model


@pytest.mark.parametrize("kind", ["hooked", "raw"])
def test_an_attached_dictionary_is_refused_and_leaves_nothing_behind(kind: str) -> None:
    model, prompt = with_saes(kind), "When Mary and John went to the store , John gave a drink to"
    direction = dla.LogitDifference(" Mary", " John")
    attributor = dla.Attributor(model, dla.HeadDecomposer())
    plain = attributor.attribute(prompt, direction)
    for hook in (MLP, "blocks.1.attn.hook_z", "blocks.0.hook_resid_pre"):
        with model.saes(saes=[built("StandardSAE", hook, model.cfg.d_model)]):
            for ask in (
                lambda: attributor.attribute(prompt, direction),
                lambda: dla.Attributor(model, dla.HeadDecomposer()),
                lambda: plain.part("L1H1").vector(),
            ):
                with pytest.raises(dla.UnsupportedModelError, match=r"_SAEWrapper has been put .* model\.reset_saes"):
                    ask()
        after = attributor.attribute(prompt, direction)
        torch.testing.assert_close(after.values, plain.values)
        assert plain.part("L1H1").top_tokens(1).up[0][0] == "Mary"


@pytest.mark.parametrize("name", CASES)
def test_features_are_traced_by_their_encoder(name: str) -> None:
    """Each feature that is there, however its input is normalised, by the weights of the object."""
    result = dla.Attributor(GPT2.model(), dla.FeatureDecomposer(CASES[name]())).attribute(
        some_tokens(1), dla.LogitDifference(5, 6)
    )
    there = [
        str(part) for part, row in zip(result.parts, result.values, strict=True) if part.kind == "feature" and row.any()
    ]
    trace = result.trace(there, by=dla.HeadDecomposer())
    rows = torch.stack([result.values[result.labels.index(label)] for label in there])
    logit = trace.logit.nan_to_num()
    assert_close(logit.sum(-1) if logit.ndim > 1 else logit, rows.sum(0), sum_size(result), GPT2.eps, name)
    assert bool((trace.gap.abs() <= trace.tolerance).all())
    assert bool(trace.values.any())

"""Features of dictionaries, against the activation that they explain."""

from typing import Any, NamedTuple

import pytest
import torch
from dictionaries import Perfect, Random, Silent
from subjects import GPT2, LLAMA, each_of_a_few, params, some_ids, some_tokens
from torch import Tensor

import dla
from dla.testing import TinyModel
from dla.testing.assertions import assert_close
from dla.testing.laws.compare import sum_size

POST_NORM = TinyModel("olmo2")
MLP, ATTN = "blocks.1.hook_mlp_out", "blocks.1.hook_attn_out"
PLACES = (MLP, ATTN, "blocks.0.hook_resid_post", "blocks.1.hook_resid_pre", "blocks.1.hook_resid_mid")


def attribute(subject: TinyModel, decomposer: dla.Decomposer, pos: Any = None, seed: int = 1) -> dla.Attribution:
    return dla.Attributor(subject.model(), decomposer).attribute(
        some_tokens(seed), dla.Logit(some_ids(seed, 2)), pos=pos
    )


def cached(subject: TinyModel, seed: int = 1) -> dict[str, Tensor]:
    with torch.no_grad():
        return dict(subject.model().run_with_cache(some_tokens(seed))[1])


@pytest.mark.parametrize("subject", params([GPT2, LLAMA, POST_NORM, TinyModel("ln", "hooked")]))
@pytest.mark.parametrize("at", PLACES)
def test_a_feature_is_its_activation_times_its_decoder_row(subject: TinyModel, at: str) -> None:
    model = subject.model()
    d_model, vector = model.cfg.d_model, torch.randn(model.cfg.d_model)
    sae, shown = Random(d_model, 3), cached(subject)[at].double()
    asked = dla.ResidualVector(vector, at=f"blocks.{model.cfg.n_layers - 1}.hook_resid_post")
    result = dla.Attributor(model, dla.FeatureDecomposer({at: sae})).attribute(some_tokens(1), asked, pos=None)
    features = sae.encode(shown)
    explained = features @ sae.W_dec + sae.b_dec
    expected = {"b_dec": sae.b_dec.expand_as(shown), "error": shown - explained}
    expected |= {f"F{i}": features[..., i, None] * sae.W_dec[i] for i in range(len(sae.W_dec))}
    name = at.split(".")[1] + "_" + at.split("hook_")[1].replace("resid_", "")
    for kind, vectors in expected.items():
        row = result.select(f"{name}_{kind}").values[0]
        assert_close(row, vectors @ vector.double(), sum_size(result), subject.eps, kind)


def test_features_of_z_go_through_the_output_weights() -> None:
    model = LLAMA.model()
    W_O = model.blocks[1].attn.W_O.detach().flatten(0, 1).double()
    sae, z = Random(len(W_O), 4), cached(LLAMA)["blocks.1.attn.hook_z"].flatten(2).double()
    vector = torch.randn(model.cfg.d_model)
    asked = dla.ResidualVector(vector, at="blocks.1.hook_resid_post")
    decomposer = dla.FeatureDecomposer({"blocks.1.attn.hook_z": sae})
    result = dla.Attributor(model, decomposer).attribute(some_tokens(1), asked, pos=None)
    expected = (sae.encode(z)[..., 2, None] * sae.W_dec[2]) @ W_O @ vector.double()
    assert_close(result.select("1_z_F2").values[0], expected, sum_size(result), LLAMA.eps, "1_z_F2")


def test_features_before_a_post_norm_go_through_it() -> None:
    """The rows of a dictionary before the norm add up to what the norm makes of the activation."""
    d_model = POST_NORM.model().cfg.d_model
    whole = attribute(POST_NORM, dla.ComponentDecomposer())
    inside = attribute(POST_NORM, dla.FeatureDecomposer({"blocks.1.mlp.hook_out": Random(d_model, 5)}))
    assert "1_mlp_out" not in inside.labels
    pieces = inside.group_by("component").select("1_mlp_out").values
    assert_close(pieces, whole.select("1_mlp_out").values, sum_size(inside), POST_NORM.eps, "1_mlp_out")


@each_of_a_few
def test_a_dictionary_that_reconstructs_perfectly_has_no_error_and_a_silent_one_has_all(subject: TinyModel) -> None:
    d_model = subject.model().cfg.d_model
    sublayer = dla.adapt(subject.model()).block(1).sublayers[0]
    at, label = sublayer.outputs[0][0].name, str(sublayer.write.labels[0])
    perfect = attribute(subject, dla.FeatureDecomposer({at: Perfect(d_model)}))
    silent = attribute(subject, dla.FeatureDecomposer({at: Silent(d_model)}))
    whole = attribute(subject, dla.ComponentDecomposer()).select(label).values
    zero = torch.zeros_like(whole)
    assert_close(perfect.select(kind="error").values, zero, sum_size(perfect), subject.eps, "no error")
    assert_close(silent.select(kind="error").values, whole, sum_size(silent), subject.eps, "all error")
    assert bool((silent.select(kind="feature").values == 0).all())


def test_a_transcoder_reads_one_place_and_explains_another() -> None:
    model = GPT2.model()
    d_model, cache = model.cfg.d_model, cached(GPT2)
    transcoder, reads = Random(d_model, 6, skip=True), "blocks.1.ln2.hook_normalized"
    vector = torch.randn(d_model)
    asked = dla.ResidualVector(vector, at="blocks.1.hook_resid_post")
    result = dla.Attributor(model, dla.FeatureDecomposer({(reads, MLP): transcoder})).attribute(some_tokens(1), asked)
    x, y = cache[reads][:, -1].double(), cache[MLP][:, -1].double()
    skip = x @ transcoder.W_skip.T
    error = y - transcoder.encode(x) @ transcoder.W_dec - transcoder.b_dec - skip
    for kind, expected in {"skip": skip, "error": error}.items():
        row = result.select(f"1_mlp_out_{kind}").values[0]
        assert_close(row, expected @ vector.double(), sum_size(result), GPT2.eps, kind)


def test_several_dictionaries_and_only_the_strongest_features() -> None:
    d_model = GPT2.model().cfg.d_model
    found = {MLP: Random(d_model, 1), "blocks.0.hook_attn_out": Random(d_model, 2)}
    every, some = (attribute(GPT2, dla.FeatureDecomposer(found, top_k=k)) for k in (None, 2))
    assert {"1_mlp_out_error", "0_attn_out_error", "0_mlp_out", "1_attn_out"} <= set(some.labels)
    assert sum(part.kind == "feature" for part in some.parts) == 4
    both = [r.group_by("component") for r in (every, some)]
    for label in both[0].labels:
        left, right = (r.select(label).values for r in both)
        assert_close(left, right, sum_size(every), GPT2.eps, label)


def test_an_object_says_itself_where_it_belongs() -> None:
    sae: Any = Random(GPT2.model().cfg.d_model, 1)
    sae.site = MLP
    for decomposer in (dla.FeatureDecomposer(sae), dla.FeatureDecomposer([sae])):
        assert "1_mlp_out_F0" in attribute(GPT2, decomposer).labels


class _WithoutBias:
    W_dec = torch.eye(3)

    def encode(self, x: Tensor) -> Tensor:
        return x


class _Curved(_WithoutBias):
    b_dec = torch.zeros(3)

    def decode(self, features: Tensor) -> Tensor:
        return features.pow(2)


@pytest.mark.parametrize(
    ("dictionaries", "error", "message"),
    [
        (_WithoutBias(), TypeError, r"_WithoutBias has no `b_dec`\. A dictionary is an object with `encode`, `W_dec`"),
        (Silent(3), ValueError, r"Silent does not say where it belongs\. Pass a dict from the name of the hook"),
        ({MLP: _Curved()}, dla.UnsupportedModelError, r"_Curved\.decode is not `features @ W_dec \+ b_dec`"),
        ([], ValueError, r"No dictionary was given\. Pass at least one"),
        ({MLP: Silent(3)}, ValueError, r"'blocks\.1\.hook_mlp_out' writes vectors of 3 numbers and the activation"),
        ({"blocks.7.hook_mlp_out": Silent(3)}, ValueError, r"hook 'blocks\.7\.hook_mlp_out' shows is not known to be"),
        ({"hook_embed": Silent(3)}, ValueError, r"not known to be added .* last block that are: 'blocks\.1\.hook_"),
    ],
)
def test_dictionaries_that_do_not_fit(dictionaries: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        attribute(GPT2, dla.FeatureDecomposer(dictionaries))


def test_a_hook_that_is_not_there_is_named() -> None:
    transcoder = {("blocks.1.ln2.hook_normalised", MLP): Random(GPT2.model().cfg.d_model, 1)}
    with pytest.raises(ValueError, match=r"no hook 'blocks\.1\.ln2\.hook_normalised'.* such as .*hook_normalized'"):
        attribute(GPT2, dla.FeatureDecomposer(transcoder))


class _Made:
    """A dictionary of chosen functions, with its weights drawn."""

    def __init__(self, encode: Any, decode: Any = None, features: int = 40, dtype: torch.dtype = torch.float32) -> None:
        generator, d = torch.Generator().manual_seed(0), GPT2.model().cfg.d_model
        self.W_dec = torch.randn(features, d, generator=generator).to(dtype)
        self.W_enc, self.b_dec = (self.W_dec.T / d**0.5).contiguous(), torch.randn(d, generator=generator).to(dtype)
        self.encode = lambda x: encode(self, x)
        if decode is not None:
            self.decode = lambda features: decode(self, features)


def _before(sae: Any, x: Tensor) -> Tensor:
    activations: Tensor = (x @ sae.W_enc).relu()
    return activations


def _top(activations: Tensor, k: int) -> Tensor:
    best = activations.topk(k, -1)
    return torch.zeros_like(activations).scatter(-1, best.indices, best.values)


def _batch_top(sae: Any, x: Tensor, axes: int = 3) -> Tensor:
    activations = _before(sae, x)
    flat = activations.flatten(-axes)
    return _top(flat, 3 * flat.shape[-1] // len(sae.W_dec)).reshape(activations.shape)


DEPENDENT: dict[str, Any] = {
    "top k of the whole batch": _batch_top,
    "top k of each prompt": lambda sae, x: _batch_top(sae, x, 2),
    "top k of each position over the prompts": lambda sae, x: _batch_top(sae, x.transpose(0, 1), 2).transpose(0, 1),
    "a threshold from the batch": lambda sae, x: _before(sae, x) * (_before(sae, x) > _before(sae, x).mean()),
    "the mean of the batch": lambda sae, x: _before(sae, x - x.mean((0, 1))),
    "what came before": lambda sae, x: _before(sae, x.cumsum(1)),
}

ALONE: dict[str, Any] = {
    "relu": _before,
    "top k": lambda sae, x: _top(_before(sae, x), 3),
    "threshold": lambda sae, x: _before(sae, x) * (_before(sae, x) > 0.5),
    "normed": lambda sae, x: _before(sae, x / x.norm(dim=-1, keepdim=True)),
}


@pytest.mark.parametrize("kind", DEPENDENT)
def test_features_that_depend_on_the_batch_are_refused_when_they_are_read(kind: str) -> None:
    with pytest.raises(
        dla.UnsupportedModelError, match=r"_Made\.encode does not treat each position alone: .* JumpReLU"
    ):
        dla.FeatureDecomposer({MLP: _Made(DEPENDENT[kind])})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ALONE)
def test_features_of_each_position_alone_do_not_depend_on_the_others(kind: str, dtype: torch.dtype) -> None:
    decomposer = dla.FeatureDecomposer({MLP: _Made(ALONE[kind], features=400, dtype=dtype)})
    attributor = dla.Attributor(GPT2.model(), decomposer)
    together = attributor.attribute(some_tokens(1, 3), dla.Logit(5), pos=None)
    if dtype == torch.float32:
        one = attributor.attribute(some_tokens(1, 3)[1:2], dla.Logit(5), pos=2)
        assert_close(together.values[:, 1, 2], one.values[:, 0], sum_size(one), 8 * GPT2.eps)


def test_features_that_depend_on_the_batch_are_refused_when_activations_are_read() -> None:
    """Of a transcoder whose input's width is not known beforehand."""
    W_enc = _Made(_before).W_enc
    transcoder = _Made(lambda sae, x: ((x - x.mean((0, 1))) @ W_enc).relu())
    with pytest.raises(dla.UnsupportedModelError, match=r"_Made\.encode does not treat each position alone"):
        dla.FeatureDecomposer({("blocks.1.ln2.hook_normalized", MLP): transcoder})
    del transcoder.W_enc
    decomposer = dla.FeatureDecomposer({("blocks.1.ln2.hook_normalized", MLP): transcoder})
    attributor = dla.Attributor(GPT2.model(), decomposer)
    with pytest.raises(dla.UnsupportedModelError, match=r"_Made\.encode does not treat each position alone"):
        attributor.attribute(some_tokens(1), dla.Logit(5), pos=None)


class Sparse(NamedTuple):
    """What sparsify's `encode` gives."""

    top_acts: Tensor
    top_indices: Tensor
    pre_acts: Tensor


class Sparsified:
    """As EleutherAI's sparsify has it: only the features that are active, and their places."""

    def __init__(self, dense: _Made) -> None:
        self.W_dec, self.b_dec, self.W_enc = dense.W_dec, dense.b_dec, dense.W_enc

    def encode(self, x: Tensor) -> Sparse:
        activations = _before(self, x)
        return Sparse(*activations.topk(3, -1), activations)

    def decode(self, top_acts: Tensor, top_indices: Tensor) -> Tensor:
        return (self.W_dec[top_indices] * top_acts.unsqueeze(-1)).sum(-2) + self.b_dec


def test_features_given_by_their_places_are_those_of_the_dense_form() -> None:
    dense = _Made(ALONE["top k"], lambda sae, features: features @ sae.W_dec + sae.b_dec)
    expected, found = (attribute(GPT2, dla.FeatureDecomposer({MLP: sae})) for sae in (dense, Sparsified(dense)))
    assert found.labels == expected.labels
    torch.testing.assert_close(found.values, expected.values)


@pytest.mark.parametrize(
    ("encode", "decode", "error", "message"),
    [
        (
            lambda sae, x: (_before(sae, x), x),
            None,
            TypeError,
            r"_Made\.encode gave a tuple .* must give a tensor \[batch",
        ),
        (
            lambda sae, x: _before(sae, x)[..., :7],
            None,
            TypeError,
            r"gave a Tensor of shape \[1, 1, 7\] for 1 prompts of",
        ),
        (_before, lambda sae, f: (f.pow(2)) @ sae.W_dec, dla.UnsupportedModelError, r"decode is not `features @ W_dec"),
        (_before, lambda sae, f: f[..., ::2] @ sae.W_dec[::2], dla.UnsupportedModelError, r"decode is not `features"),
    ],
)
def test_dictionaries_that_give_something_else(encode: Any, decode: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        dla.FeatureDecomposer({MLP: _Made(encode, decode)})


def _noisy(sae: Any, x: Tensor) -> Tensor:
    return torch.nn.functional.dropout(_before(sae, x), 0.5)


def _fails(sae: Any, x: Tensor) -> Tensor:
    raise RuntimeError("no such thing")


@pytest.mark.parametrize(
    ("encode", "error", "message"),
    [
        (_noisy, dla.UnsupportedModelError, r"_Made\.encode gives other features when the same .* call its eval\(\)"),
        (
            _fails,
            ValueError,
            r"^The dictionary of 'blocks\.1\.hook_mlp_out': _Made\.encode raised RuntimeError for activations \[batch, "
            r"pos, d_in\] of shape \[1, 1, 32\]: no such thing\. It must take these, and give \[batch, pos, feature\]",
        ),
    ],
)
def test_an_encode_that_draws_or_fails(encode: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        dla.FeatureDecomposer({MLP: _Made(encode)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"b_dec": torch.tensor(0.0)},
            r"W_dec of shape \[40, 32\] and b_dec of shape \[\]\. W_dec must .* \[d_out\]\.$",
        ),
        ({"b_dec": torch.zeros(31)}, r"'blocks\.1\.hook_mlp_out': _Made has W_dec .* b_dec of shape \[31\]"),
        ({"b_dec": 0.0}, r"b_dec of shape 0\.0\. W_dec must be"),
        ({"W_dec": torch.zeros(32, 40)}, r"W_dec of shape \[32, 40\] .* It looks transposed: pass W_dec\.T\.$"),
        ({"W_dec": torch.zeros(32)}, r"W_dec of shape \[32\] .* must be a tensor \[feature, d_out\], a row for each"),
    ],
)
def test_weights_of_other_shapes(change: dict[str, Any], message: str) -> None:
    sae = _Made(_before)
    vars(sae).update(change)
    with pytest.raises(ValueError, match=message):
        dla.FeatureDecomposer({MLP: sae})


def test_a_class_is_no_dictionary() -> None:
    with pytest.raises(TypeError, match=r"the class Silent is not a dictionary\. Pass an instance"):
        dla.FeatureDecomposer({MLP: Silent})


def test_a_decode_that_takes_something_else() -> None:
    sae = _Made(_before)
    sae.decode = lambda features, scale: features @ sae.W_dec
    with pytest.raises(TypeError, match=r"_Made\.decode takes features, scale\. It must take the features"):
        dla.FeatureDecomposer({MLP: sae})

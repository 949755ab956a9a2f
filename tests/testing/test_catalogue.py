"""The catalogue of tiny models: each builds, is finite, and has no parameter at its default."""

from importlib.metadata import version

import pytest
import torch
from torch import Tensor, nn

from dla.testing.models import (
    FIRST_NAMES,
    HOOKED,
    HUGGING_FACE,
    PROMPT,
    REFUSED,
    VOCABULARY_SIZE,
    HookedArchitecture,
    HuggingFaceArchitecture,
    architecture,
    hooked_architecture,
    randomise,
    tokenizer,
)

LINE = int(version("transformer-lens").split(".")[0])

QUICK = [
    "gpt2",
    "gpt_neox",
    "opt",
    "falcon",
    "llama",
    "qwen3",
    "gemma2",
    "granite",
    "mixtral",
    "deepseek_v3",
    "mamba",
]

each_hugging_face = pytest.mark.parametrize("entry", [*HUGGING_FACE, *REFUSED], ids=lambda entry: entry.name)
each_decoder = pytest.mark.parametrize("entry", HUGGING_FACE, ids=lambda entry: entry.name)
each_hooked = pytest.mark.parametrize("entry", HOOKED, ids=lambda entry: entry.name)
each_compared = pytest.mark.parametrize(
    "entry",
    [entry for entry in HUGGING_FACE if (entry.name in QUICK or entry.unfaithful) and LINE in entry.lines],
    ids=lambda entry: entry.name,
)
each_quick = pytest.mark.parametrize("entry", [architecture(name) for name in QUICK], ids=lambda entry: entry.name)
with_hooked_transformer = pytest.mark.skipif(LINE >= 4, reason="TransformerLens 4 has no HookedTransformer")


@pytest.fixture(scope="module")
def tokens() -> Tensor:
    return torch.tensor([tokenizer()(PROMPT).input_ids])


def constant(module: nn.Module) -> list[str]:
    """Parameters that still hold one value everywhere, as a fresh norm's ones and a fresh bias' zeros."""
    return [name for name, parameter in module.named_parameters() if is_constant(parameter)]


def is_constant(parameter: Tensor) -> bool:
    if parameter.numel() == 1:
        return parameter.item() in (0.0, 1.0)
    return parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all())


def same(left: nn.Module, right: nn.Module) -> list[str]:
    other = dict(right.named_parameters())
    return [name for name, parameter in left.named_parameters() if torch.equal(parameter, other[name])]


def test_there_are_enough_entries_and_their_names_are_unique():
    names = [entry.name for entry in (*HUGGING_FACE, *REFUSED)]
    assert len(HUGGING_FACE) >= 80
    assert len(HOOKED) >= 30
    assert len(set(names)) == len(names)
    assert len({entry.name for entry in HOOKED}) == len(HOOKED)


@each_hugging_face
def test_configuration_sets_no_field_that_its_class_does_not_know(entry: HuggingFaceArchitecture):
    config = entry.config()
    assert set(config.to_dict()) <= set(type(config)().to_dict())


@each_decoder
def test_hugging_face_model_is_finite_and_sane(entry: HuggingFaceArchitecture, tokens: Tensor):
    model = entry.hugging_face()
    with torch.no_grad():
        logits = model(tokens).logits
    assert logits.shape == (*tokens.shape, VOCABULARY_SIZE)
    assert not model.training
    assert 0.1 < logits.std() < 30


@each_hugging_face
def test_no_parameter_is_at_its_default_and_the_seed_decides(entry: HuggingFaceArchitecture):
    model, again, other = entry.hugging_face(seed=0), entry.hugging_face(seed=0), entry.hugging_face(seed=1)
    assert constant(model) == []
    assert same(model, again) == [name for name, _ in model.named_parameters()]
    assert same(model, other) == []


@each_quick
def test_same_weights_in_every_dtype(entry: HuggingFaceArchitecture):
    reference = dict(entry.hugging_face().named_parameters())
    for dtype in (torch.float64, torch.bfloat16):
        for name, parameter in entry.hugging_face(dtype=dtype).named_parameters():
            assert parameter.dtype == dtype
            assert torch.equal(parameter, reference[name].to(dtype)), name


@each_compared
@pytest.mark.parametrize("with_tokenizer", [True, False])
def test_raw_bridge_has_the_logits_of_the_untouched_model(
    entry: HuggingFaceArchitecture, with_tokenizer: bool, tokens: Tensor
):
    bridge = entry.bridge(seed=3, tokenizer=with_tokenizer)
    with torch.no_grad():
        expected, actual = entry.hugging_face(seed=3)(tokens).logits, bridge(tokens)
    equal = torch.allclose(actual, expected, atol=1e-5 * expected.std().item(), rtol=0)
    assert equal == (LINE not in entry.unfaithful)
    assert (bridge.tokenizer is not None) == with_tokenizer


@each_quick
def test_compatibility_mode_keeps_the_log_probabilities(entry: HuggingFaceArchitecture, tokens: Tensor):
    with torch.no_grad():
        expected = entry.hugging_face()(tokens).logits
        actual = entry.bridge("compatibility")(tokens)
    difference = actual.log_softmax(-1) - expected.log_softmax(-1)
    assert difference.abs().max() < 1e-5 * expected.std()


@pytest.mark.parametrize("entry", REFUSED, ids=lambda entry: entry.name)
def test_refused_entry_boots_where_it_says_so(entry: HuggingFaceArchitecture):
    if LINE in entry.lines:
        assert entry.bridge() is not None
    else:
        with pytest.raises(ValueError, match="architecture"):
            entry.bridge()


@with_hooked_transformer
@each_hooked
def test_hooked_transformer_is_random_and_sane(entry: HookedArchitecture):
    model, again, other = entry.model(seed=0), entry.model(seed=0), entry.model(seed=1)
    logits = model(PROMPT)
    assert 0.1 < logits.std() < 30
    assert logits.shape[-1] == model.cfg.d_vocab_out
    assert constant(model) == []
    assert same(model, again) == [name for name, _ in model.named_parameters()]
    assert same(model, other) == []


@with_hooked_transformer
@each_hooked
def test_processing_keeps_the_log_probabilities_where_the_entry_says_so(entry: HookedArchitecture):
    raw, processed = entry.model()(PROMPT), entry.model(processed=True)(PROMPT)
    error = (raw.log_softmax(-1) - processed.log_softmax(-1)).abs().max() / raw.std()
    assert (error < 1e-5) == entry.processes


@with_hooked_transformer
def test_hooked_transformer_has_the_dtype_asked_for():
    for name in ("ln", "experts", "grouped-query"):
        model = hooked_architecture(name).model(dtype=torch.float64)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
        assert model(PROMPT).dtype == torch.float64


@pytest.mark.skipif(LINE < 4, reason="TransformerLens 3 has HookedTransformer")
def test_hooked_entry_says_what_to_do_without_hooked_transformer():
    with pytest.raises(ImportError, match="install 'transformer-lens<4'"):
        HOOKED[0].model()


def test_randomise_does_not_depend_on_the_order_of_modules():
    def parts() -> dict[str, nn.Module]:
        return {"a": nn.Linear(3, 4), "b": nn.LayerNorm(4), "c": nn.Embedding(5, 3)}

    forwards, backwards = nn.ModuleDict(parts()), nn.ModuleDict(reversed(parts().items()))
    for module in (forwards, backwards):
        randomise(module, seed=7)
    assert same(forwards, backwards) == [name for name, _ in forwards.named_parameters()]


def test_randomise_draws_shared_weights_as_an_embedding():
    module = nn.ModuleDict({"a": nn.Linear(200, 300, bias=False), "z": nn.Embedding(300, 200)})
    module["a"].weight = module["z"].weight
    randomise(module, seed=0)
    assert module["z"].weight.std().item() == pytest.approx(0.6, rel=0.02)


def test_randomise_leaves_buffers_alone_unless_they_are_learned():
    module = nn.Module()
    module.register_buffer("inv_freq", torch.ones(3))
    module.register_buffer("layer_scalar", torch.ones(1))
    randomise(module, seed=0)
    assert torch.equal(module.inv_freq, torch.ones(3))
    assert module.layer_scalar.item() != 1.0


def test_tokenizer_gives_one_token_for_each_word_and_its_spaced_form():
    tiny = tokenizer()
    assert len(tiny) == VOCABULARY_SIZE
    for name in FIRST_NAMES:
        assert len(tiny(name, add_special_tokens=False).input_ids) == 1
        assert tiny.convert_ids_to_tokens(tiny(" " + name).input_ids) == ["<s>", " " + name]
    assert tiny.decode(tiny(PROMPT).input_ids, skip_special_tokens=True) == PROMPT
    assert tiny("Maryland").input_ids == [tiny.bos_token_id, tiny.unk_token_id]


def test_lookup_names_the_nearest_entries():
    assert architecture("t5") in REFUSED
    with pytest.raises(ValueError, match=r"'gpt-2' is not an entry of HUGGING_FACE.*gpt2"):
        architecture("gpt-2")
    with pytest.raises(ValueError, match=r"'soluu' is not an entry of HOOKED.*solu"):
        hooked_architecture("soluu")

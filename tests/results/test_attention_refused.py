"""An attention score that is not what its pairs add up to is seen, and what cannot be told is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor

import dla
from dla.adapters.score_reads import ShownTurn
from dla.engine import scores as engine
from dla.testing import AlteredAdapter, TinyModel
from tests.subjects import GPT2, LLAMA, needs_hooked_transformer, some_tokens
from tests.traced_subjects import ASKED, DOUBLE, attributed, together

QUERY, KEY = 4, 2


def test_a_forgotten_bias_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    result, bias = attributed("gpt2", dla.HeadDecomposer()), engine._bias
    monkeypatch.setattr(engine, "_bias", lambda side, own: None if side.kind == "K" else bias(side, own))
    with pytest.raises(dla.ReconstructionError, match="The pairs of HeadDecomposer miss the attention score of L1H2"):
        result.part("L1H2").attention(QUERY, KEY)


def test_a_turn_by_the_position_next_to_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    result, at = attributed("llama", dla.HeadDecomposer()), engine._at
    result.part("L1H2").attention(QUERY, KEY)

    def wrong(run: Any, sites: Any, index: Tensor) -> Any:
        return {**at(run, sites, index), **at(run, [site for site in sites if "cos" in site.name], index - 1)}

    monkeypatch.setattr(engine, "_at", wrong)
    with pytest.raises(dla.ReconstructionError, match="The pairs of HeadDecomposer miss the attention score of L1H2"):
        result.part("L1H2").attention(QUERY, KEY)


def test_a_turn_that_is_not_the_models_is_not_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    factors = ShownTurn.factors
    monkeypatch.setattr(ShownTurn, "factors", lambda self, x, activations: factors(self, x, activations).conj())
    monkeypatch.setattr("dla.adapters.score_reads.SeenTurn.factors", lambda *_: torch.ones(1, dtype=torch.complex64))
    result = dla.Attributor(LLAMA.fresh(), dla.HeadDecomposer()).attribute(some_tokens(1), ASKED)
    with pytest.raises(dla.UnsupportedModelError, match="is not what hooks show of queries times what they"):
        result.part("L1H2").attention(QUERY, KEY)


def test_what_a_hook_adds_to_scores_is_in_no_pair() -> None:
    model = GPT2.fresh()
    model.blocks[1].attn.hook_attn_scores.register_forward_hook(lambda _, args, output: output + 0.25)
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(some_tokens(1), ASKED)
    result.part("L0H2").attention(QUERY, KEY)
    with pytest.raises(dla.ReconstructionError, match="What a hook edits between a part and the scores is in no pair"):
        result.part("L1H2").attention(QUERY, KEY)


@pytest.mark.parametrize("name", ["gpt_neo", "gptj"])
def test_a_model_that_does_not_show_its_scores_is_refused(name: str) -> None:
    result = together(TinyModel(name))
    message = "The scores of L1H0 cannot be taken apart: blocks.1.attn.hook_attn_scores shows the pattern"
    with pytest.raises(dla.UnsupportedModelError, match=message):
        result.part("L1H0").attention(3, 2)


REFUSED = {
    "alibi": "what position adds to blocks.1.attn.hook_attn_scores depends on the longest prompt that the model",
    "split-qkv": "each head of blocks.1.attn has an input of its own",
    "shortformer": "its values are not what enters blocks.1.attn times a matrix",
    "clipped-qkv": "the pattern and the values of its heads are not known",
}


@needs_hooked_transformer
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_exact_is_refused(name: str) -> None:
    result = together(TinyModel(name, "hooked"))
    with pytest.raises(dla.UnsupportedModelError, match=f"The scores of L1H0 cannot be taken apart: {REFUSED[name]}"):
        result.part("L1H0").attention(3, 2)


def test_an_adapter_that_does_not_say_what_is_read_is_refused() -> None:
    result = dla.Attributor(AlteredAdapter(GPT2.model()), dla.HeadDecomposer()).attribute(some_tokens(1), ASKED)
    with pytest.raises(dla.UnsupportedModelError, match="does not say what its sublayers read"):
        result.part("L1H0").attention(3, 2)


BAD: dict[str, tuple[str, tuple[Any, ...], type[Exception], str]] = {
    "a later key": ("L1H0", (2, 3), ValueError, "In prompt 0 the key at position 3 comes after the query at 2"),
    "a later key from the end": ("L1H0", (-2, -1), ValueError, "key at position 5 comes after the query at 4"),
    "a key outside": (
        "L1H0",
        (3, 6),
        ValueError,
        "key=6: the shortest prompt has 6 tokens. Pass a position from -6 to 5",
    ),
    "a query outside": ("L1H0", (-7, 0), ValueError, "query=-7: the shortest prompt has 6 tokens"),
    "text": ("L1H0", (3, " Mary"), TypeError, "key=' Mary' is not a position. Pass a whole number"),
    "half a position": ("L1H0", (2.5, 1), TypeError, "query=2.5 is not a position"),
    "all positions": ("L1H0", (None, 1), TypeError, "query=None is not a position"),
    "an MLP": ("1_mlp_out", (3, 2), ValueError, "1_mlp_out is no attention head, and only heads look at positions"),
    "an embedding": ("embed", (3, 2), ValueError, "embed is no attention head"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_cannot_be_asked_is_refused(what: str) -> None:
    label, places, error, message = BAD[what]
    with pytest.raises(error, match=message):
        attributed("gpt2", dla.HeadDecomposer()).part(label).attention(*places)


def test_other_arguments_that_do_not_fit_are_refused() -> None:
    part = attributed("gpt2", dla.HeadDecomposer()).part("L1H0")
    with pytest.raises(ValueError, match="rows of LensDecomposer do not add up, so no score is split into them"):
        part.attention(3, 2, by=dla.LensDecomposer())
    with pytest.raises(TypeError, match="'heads' is not a Decomposer|Expected type"):
        part.attention(3, 2, by="heads")  # type: ignore[arg-type] # that is the test
    source = dla.Attributor(DOUBLE["gpt2"].model(), dla.SourceDecomposer()).attribute(some_tokens(1), ASKED)
    with pytest.raises(ValueError, match="L1H0 ← 2 is no attention head"):
        source.part("L1H0 ← 2").attention(3, 2)


def test_a_pair_outside_of_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="In prompt 0 L1H0 does not look from position 6 to 0: the pair is masked"):
        together(TinyModel("mistral")).part("L1H0").attention(6, 0)


def test_a_model_that_changed_is_not_asked() -> None:
    model = GPT2.fresh()
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(some_tokens(1), ASKED)
    model.blocks[0].hook_resid_pre.register_forward_hook(lambda _, args, output: 2 * output)
    with pytest.raises(dla.RunChangedError):
        result.part("L1H0").attention(3, 2)

"""A cache in the place of a run: only for the prompts that it was made from."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from subjects import GPT2, LLAMA, needs_hooked_transformer, params, some_tokens
from torch import Tensor

import dla
from dla.adapters.base import Observer
from dla.testing import TinyModel

HEADS = dla.HeadDecomposer()
LOGIT = dla.Logit(9)
MODELS = params([GPT2, LLAMA, TinyModel("bloom"), TinyModel("gpt2", processed=True), TinyModel("ln", "hooked")])
each_model = pytest.mark.parametrize("subject", MODELS)
NOT_MADE = r"The cache was not made from these prompts\. At position {} of prompt {} \('.*'\) it holds the embedding of"


def cached(model: Any, tokens: Any) -> Any:
    with torch.no_grad():
        return model.run_with_cache(tokens)[1]


def attribute(model: Any, prompts: Any, decomposer: dla.Decomposer = HEADS, **options: Any) -> dla.Attribution:
    return dla.Attributor(model, decomposer).attribute(prompts, LOGIT, **options)


@each_model
@pytest.mark.parametrize("decomposer", [HEADS, dla.LayerDecomposer()], ids=lambda d: type(d).__name__)
def test_a_cache_of_other_prompts_of_the_same_shape(subject: TinyModel, decomposer: dla.Decomposer) -> None:
    model, tokens = subject.model(), some_tokens(1, 2, 6)
    one_other = tokens.clone()
    one_other[1, 3] = 4 if int(tokens[1, 3]) != 4 else 5
    for other, (position, prompt) in ((tokens.flip(0), (0, 0)), (one_other, (3, 1))):
        with pytest.raises(ValueError, match=NOT_MADE.format(position, prompt)):
            attribute(model, tokens, decomposer, cache=cached(model, other))
    cache = cached(model, tokens)
    for given in (cache, dict(cache.items())):
        found = attribute(model, tokens, decomposer, cache=given).logit
        torch.testing.assert_close(found, subject.logits(tokens)[:, -1, 9], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_caches_of_a_model_in_half_precision(dtype: torch.dtype) -> None:
    model, tokens = LLAMA.fresh(), some_tokens(1, 2, 6)
    model.to(dtype)
    run = attribute(model, tokens)
    torch.testing.assert_close(attribute(model, tokens, cache=cached(model, tokens)).logit, run.logit, rtol=0, atol=0)
    with pytest.raises(ValueError, match=NOT_MADE.format(0, 0)):
        attribute(model, tokens, cache=cached(model, tokens.flip(0)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_cache_kept_in_half_precision_is_known_by_its_embeddings(dtype: torch.dtype) -> None:
    model, tokens = GPT2.model(), some_tokens(1, 2, 6)
    halves = {name: value.to(dtype) for name, value in cached(model, tokens).items() if isinstance(value, Tensor)}
    lenient = dla.Attributor(model, HEADS, check="warn")
    with pytest.raises(ValueError, match=NOT_MADE.format(0, 0)):
        lenient.attribute(tokens.flip(0), LOGIT, cache=halves)
    read = dla.engine.caches.read_prompts_or_cache(
        lenient.model, tokens, dla.engine.caches.read_cache(lenient.model, halves), None, None
    )
    assert torch.equal(read.tokens, tokens)


@each_model
def test_padding_on_the_right_serves_and_on_the_left_does_not(subject: TinyModel) -> None:
    model, words = subject.model(), some_tokens(2, 2, 5)
    expected = torch.stack([subject.logits(words[:1])[0, -1, 9], subject.logits(words[1:, :3])[0, -1, 9]])
    right = torch.tensor([[*words[0].tolist(), 2], [*words[1, :3].tolist(), 2, 2, 2]])
    left = torch.tensor([[2, *words[0].tolist()], [2, 2, 2, *words[1, :3].tolist()]])
    found = attribute(model, right, cache=cached(model, right))
    torch.testing.assert_close(found.logit, expected, rtol=1e-4, atol=1e-4)
    for prompts in (left, right):
        with pytest.raises(ValueError, match=r"of 6 positions, the prompts given are 2 of 5\. At position 0 of"):
            attribute(model, prompts, cache=cached(model, left))


@each_model
def test_a_padded_cache_wants_its_prompts(subject: TinyModel) -> None:
    model, words = subject.model(), some_tokens(2, 2, 5)
    assert_alone = attribute(model, None, cache=cached(model, words)).logit
    torch.testing.assert_close(assert_alone, subject.logits(words)[:, -1, 9], rtol=1e-4, atol=1e-4)
    for ends in ((1, 0), (0, 1), (0, 3)):
        cache = cached(model, torch.nn.functional.pad(words, ends, value=2))
        with pytest.raises(
            ValueError, match=r"holds the embedding of '<pad>', .* in prompt 0, and does not say what is"
        ):
            attribute(model, None, cache=cache)


def test_a_cache_of_text_that_begins_with_what_the_tokenizer_pads_with() -> None:
    model = GPT2.fresh()
    model.tokenizer.pad_token = "<s>"
    begun, twice = torch.tensor([[0, 9, 12]]), torch.tensor([[0, 0, 9, 12]])
    found = attribute(model, None, cache=cached(model, begun)).logit
    torch.testing.assert_close(found, GPT2.logits(begun)[:, -1, 9], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"holds the embedding of '<s>'"):
        attribute(model, None, cache=cached(model, twice))


def test_a_cache_without_embeddings() -> None:
    model, tokens = GPT2.model(), some_tokens(1)
    layers = {name: value for name, value in cached(model, tokens).items() if name != "hook_embed"}
    found = attribute(model, tokens, dla.LayerDecomposer(), cache=layers).logit
    torch.testing.assert_close(found, GPT2.logits(tokens)[:, -1, 9], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"not made from these prompts"):
        attribute(model, tokens.flip(0), dla.LayerDecomposer(), cache=layers)
    neither = {name: value for name, value in layers.items() if name not in ("hook_embed", "blocks.0.hook_resid_pre")}
    with pytest.raises(ValueError, match=r"The cache lacks 'hook_embed', which this attribution reads"):
        attribute(model, tokens, dla.LayerDecomposer(), cache=neither)


def test_what_speaks_of_prompts_wants_prompts() -> None:
    cache = cached(GPT2.model(), some_tokens(1))
    for options in ({"attention_mask": torch.ones(2, 6)}, {"prepend_bos": False}):
        with pytest.raises(ValueError, match=r"attention_mask and prepend_bos speak of prompts, and none were given"):
            attribute(GPT2.model(), None, cache=cache, **options)


@pytest.mark.parametrize("cache", ["file.pt", 3, torch.ones(2), ("logits", {})], ids=lambda c: type(c).__name__)
def test_what_is_no_cache(cache: Any) -> None:
    with pytest.raises(TypeError, match=r"The cache is .*\. Pass the second of what run_with_cache returns") as caught:
        attribute(GPT2.model(), some_tokens(1), cache=cache)
    assert len(str(caught.value)) < 300


def test_an_unbatched_dictionary() -> None:
    tokens = some_tokens(1, 1)
    cache = cached(GPT2.model(), tokens)
    cache.remove_batch_dim()
    result = attribute(GPT2.model(), tokens, cache=dict(cache.items()))
    torch.testing.assert_close(result.logit, GPT2.logits(tokens)[0, -1, 9], rtol=1e-4, atol=1e-4)


class HidesItsEmbeddings(dla.ModelAdapter):
    """An adapter whose hooks show nothing when it runs."""

    def __init__(self) -> None:
        self._inner = dla.adapt(GPT2.model())

    @property
    def anatomy(self) -> Any:
        return self._inner.anatomy

    @property
    def vocabulary(self) -> Any:
        return self._inner.vocabulary

    def run(self, tokens: Tensor, observe: Mapping[str, Observer], rows: Tensor | None) -> Tensor:
        return self._inner.run(tokens, {}, rows)

    def owns(self, cache: Any) -> bool:
        return True


def test_a_model_that_does_not_show_its_embeddings() -> None:
    cache = cached(GPT2.model(), some_tokens(1))
    with pytest.raises(ValueError, match=r"The model does not show 'hook_embed' when it runs, which the cache holds"):
        attribute(HidesItsEmbeddings(), some_tokens(1), cache=cache)


@needs_hooked_transformer
def test_nothing_is_left_of_a_run_that_was_ended_early() -> None:
    model, tokens = TinyModel("ln", "hooked").fresh(), some_tokens(1)
    before = model(tokens)
    attribute(model, tokens, cache=cached(model, tokens))
    assert torch.equal(model(tokens), before)
    assert not any(point._forward_hooks for point in model.hook_dict.values())

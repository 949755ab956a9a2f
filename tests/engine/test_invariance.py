"""What must change nothing: a cache instead of a run, other prompts beside, padding, the way to say a position."""

import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from subjects import GPT2, LLAMA, any_of_a_few, each_of_a_few, needs_hooked_transformer, some_ids, some_tokens
from torch import Tensor

import dla
from dla.testing import AlteredAdapter, TinyModel, assert_attributions_equal
from dla.testing.models import FIRST_NAMES, PROMPT, VOCABULARY_SIZE

SHORT, LONG = "When Mary went to the park", PROMPT
POSITIONS = (-1, 0, -6, 5, None, [0, -1], [3, 1, 1], slice(None), slice(1, 4), slice(-2, None))


def named(pos: object) -> str:
    return str(pos)


def row(result: dla.Attribution, index: int, upto: int | None = None) -> dla.Attribution:
    """One prompt of an attribution, with its first positions only; as if it had been asked alone."""
    names = ("total", "constant", "logit", "output_logit", "tolerance", "positions")
    kept = (slice(index, index + 1), *(() if "position" not in result.provenance.dims else (slice(None, upto),)))
    shared = {name: getattr(result, name)[kept] for name in names}
    return dla.Attribution(parts=result.parts, values=result.values[:, *kept], provenance=result.provenance, **shared)


@each_of_a_few
@pytest.mark.parametrize("pos", [-1, None], ids=named)
def test_a_cache_without_its_batch_dimension(subject: TinyModel, pos: object) -> None:
    tokens, model = some_tokens(7, batch=1), subject.model()
    _, cache = model.run_with_cache(tokens)
    cache.remove_batch_dim()
    attributor = dla.Attributor(model, dla.HeadDecomposer())
    streamed = attributor.attribute(tokens, dla.Logit(9), pos=pos)
    for prompts in (tokens, tokens[0], None):
        unbatched = attributor.attribute(prompts, dla.Logit(9), pos=pos, cache=cache)
        assert "batch" not in unbatched.provenance.dims
        torch.testing.assert_close(unbatched.values, streamed.values[:, 0])
        torch.testing.assert_close(unbatched.logit, streamed.logit[0])


def test_a_cache_serves_next_token_only_with_its_prompts() -> None:
    tokens, model = some_tokens(7), GPT2.model()
    _, cache = model.run_with_cache(tokens)
    attributor, upto = dla.Attributor(model, dla.HeadDecomposer()), slice(None, -1)
    cached = attributor.attribute(tokens, dla.NextToken(), pos=upto, cache=cache)
    assert_attributions_equal(cached, attributor.attribute(tokens, dla.NextToken(), pos=upto), eps=GPT2.eps)
    with pytest.raises(ValueError, match="only a cache was given. Pass the prompts too"):
        attributor.attribute(None, dla.NextToken(), pos=upto, cache=cache)


@given(
    subject=any_of_a_few,
    names=st.lists(st.lists(st.sampled_from(FIRST_NAMES), min_size=2, max_size=7), min_size=2, max_size=4),
    pos=st.sampled_from([-1, 0, None, [0, 1, -1], slice(1, None)]),
)
def test_each_prompt_of_a_batch_of_texts_is_as_if_alone(
    subject: TinyModel, names: list[list[str]], pos: object
) -> None:
    prompts = [" ".join(words) for words in names]
    attributor = dla.Attributor(subject.model(), dla.HeadDecomposer())
    together = attributor.attribute(prompts, dla.LogitDifference(9, 20), pos=pos)
    for index, prompt in enumerate(prompts):
        alone = attributor.attribute([prompt], dla.LogitDifference(9, 20), pos=pos)
        kept = alone.positions.shape[1] if alone.positions.ndim == 2 else None
        # A matrix product may round otherwise in another batch.
        assert_attributions_equal(row(together, index, kept), alone, eps=8 * subject.eps)
        if kept is not None:
            assert bool((together.positions[index, kept:] == -1).all())
            assert bool(together.values[:, index, kept:].isnan().all())


@given(subject=any_of_a_few)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("filler", [2, 30], ids=["pad", "word"])
@pytest.mark.parametrize("pos", [-1, 2, None], ids=named)
def test_padding_under_a_mask_changes_nothing(subject: TinyModel, side: str, filler: int, pos: object) -> None:
    lengths, width = (3, 7, 5), 8
    rows = [some_tokens(20 + length, 1, length)[0] for length in lengths]
    tokens, mask = torch.full((3, width), filler), torch.zeros(3, width, dtype=torch.long)
    for index, real in enumerate(rows):
        at = slice(width - len(real), None) if side == "left" else slice(len(real))
        tokens[index, at], mask[index, at] = real, 1
    attributor = dla.Attributor(subject.model(), dla.HeadDecomposer())
    padded = attributor.attribute(tokens, dla.Logit(9), pos=pos, attention_mask=mask)
    for index, real in enumerate(rows):
        alone = attributor.attribute(real, dla.Logit(9), pos=pos)
        assert_attributions_equal(row(padded, index, len(real)), alone, eps=8 * subject.eps)


@pytest.mark.parametrize(
    "subject", [GPT2, pytest.param(TinyModel("ln", "hooked"), marks=needs_hooked_transformer)], ids=str
)
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", ["<pad>", "<s>"])
def test_how_the_tokenizer_pads_changes_nothing(subject: TinyModel, side: str, pad: str) -> None:
    model = subject.fresh()
    model.tokenizer.padding_side, model.tokenizer.pad_token = side, pad
    attributor = dla.Attributor(model, dla.HeadDecomposer())
    together = attributor.attribute([SHORT, LONG], dla.Logit(" Mary"))
    for index, prompt in enumerate([SHORT, LONG]):
        alone = dla.Attributor(subject.model(), dla.HeadDecomposer()).attribute(prompt, dla.Logit(" Mary"))
        assert_attributions_equal(row(together, index), alone, eps=8 * subject.eps)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_that_can_only_be_padding_is_recognised_without_a_mask(side: str) -> None:
    attributor = dla.Attributor(LLAMA.model(), dla.HeadDecomposer())
    short, long = some_tokens(31, 1, 4)[0], some_tokens(32, 1, 7)[0]
    pads = torch.full((3,), LLAMA.model().tokenizer.pad_token_id)
    filled = torch.cat([pads, short] if side == "left" else [short, pads])
    together = attributor.attribute(torch.stack([filled, long]), dla.Logit(9))
    for index, alone in enumerate((short, long)):
        assert_attributions_equal(row(together, index), attributor.attribute(alone, dla.Logit(9)), eps=8 * LLAMA.eps)


@pytest.mark.parametrize("pos", POSITIONS, ids=named)
@given(subject=any_of_a_few)
def test_every_way_to_say_positions_picks_from_all_of_them(subject: TinyModel, pos: object) -> None:
    tokens = some_tokens(8, 2, 6)
    answers = some_ids(8, 2, 6)
    attributor = dla.Attributor(subject.model(), dla.HeadDecomposer())
    everything = attributor.attribute(tokens, dla.Logit(answers), pos=None)
    index: Tensor = torch.arange(6)[[pos] if isinstance(pos, int) else slice(None) if pos is None else pos]
    asked = answers[:, index] if not isinstance(pos, int) else answers[:, index[0]]
    some = attributor.attribute(tokens, dla.Logit(asked), pos=pos)
    assert torch.equal(some.positions.reshape(2, -1), index.expand(2, -1))
    assert some.values.ndim == (2 if isinstance(pos, int) else 3)
    torch.testing.assert_close(some.values.reshape(-1, 2, len(index)), everything.values[:, :, index])
    torch.testing.assert_close(some.logit.reshape(2, -1), everything.logit[:, index])


def test_the_same_prompt_as_text_list_and_ids() -> None:
    attributor = dla.Attributor(GPT2.model(), dla.HeadDecomposer())
    ids = torch.tensor(GPT2.model().tokenizer(PROMPT).input_ids)
    expected = attributor.attribute(PROMPT, dla.Logit(9))
    for prompts in ([PROMPT], ids, ids[None], ids.to(torch.int32)):
        assert_attributions_equal(attributor.attribute(prompts, dla.Logit(9)), expected, eps=GPT2.eps)
    without = attributor.attribute(PROMPT, dla.Logit(9), prepend_bos=False)
    assert_attributions_equal(attributor.attribute(ids[1:], dla.Logit(9)), without, eps=GPT2.eps)
    assert without.tokens[0] == expected.tokens[0][1:]


def test_attributing_leaves_the_model_and_the_generator_alone() -> None:
    model = GPT2.fresh()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before, state = model(some_tokens(8)), torch.get_rng_state()
    dla.Attributor(model, dla.HeadDecomposer()).attribute(some_tokens(8), dla.Logit(9))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model(some_tokens(8)), before)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks and "dla" in repr(module._forward_hooks) for module in model.modules())


def test_nothing_asks_for_gradients() -> None:
    result = dla.Attributor(GPT2.model(), dla.HeadDecomposer()).attribute(some_tokens(8), dla.Logit(9))
    assert not any(t.requires_grad for t in (result.values, result.total, result.logit, result.output_logit))


@pytest.mark.parametrize("name", ["gpt2", "llama-biases", "gemma2"])
def test_a_model_whose_weights_changed_is_looked_at_again(name: str) -> None:
    """Gemma's norms multiply by 1 + weight, which no adapter can hold without a copy."""
    model = TinyModel(name).fresh()
    attributor = dla.Attributor(model, dla.HeadDecomposer())
    before = attributor.attribute(some_tokens(8), dla.Logit(9))
    with torch.no_grad():
        model.ln_final.original_component.weight.mul_(1.5)
    changed = attributor.attribute(some_tokens(8), dla.Logit(9))
    assert bool((changed.logit - before.logit).abs().max() > 0.1)
    assert_attributions_equal(
        changed, dla.Attributor(model, dla.HeadDecomposer()).attribute(some_tokens(8), dla.Logit(9)), eps=1e-7
    )
    torch.testing.assert_close(changed.output_logit, model(some_tokens(8))[:, -1, 9].detach())


def test_hooks_of_the_users_own_are_part_of_the_model() -> None:
    model = GPT2.fresh()
    attributor = dla.Attributor(model, dla.HeadDecomposer())

    def ablated(z: Tensor, hook: object) -> Tensor:
        z = z.clone()
        z[..., 2, :] = 0.0
        return z

    model.add_hook("blocks.0.attn.hook_z", ablated)
    result = attributor.attribute(some_tokens(8), dla.Logit(9))
    assert dict(zip(result.labels, result.values[:, 0].tolist(), strict=True))["L0H2"] == 0.0
    torch.testing.assert_close(result.output_logit, model(some_tokens(8))[:, -1, 9].detach())


@pytest.mark.parametrize("pos", [-1, None], ids=named)
def test_an_activation_is_let_go_when_its_write_was_contracted(pos: object) -> None:
    alive: dict[str, list[bool]] = {}
    shown: dict[str, weakref.ref[Tensor]] = {}

    def show(name: str, activation: Tensor) -> Tensor:
        alive[name] = [earlier() is not None for earlier in shown.values()]
        copy = activation.clone()
        shown[name] = weakref.ref(copy)
        return copy

    adapter = AlteredAdapter(GPT2.model(), show=show)
    dla.Attributor(adapter, dla.HeadDecomposer()).attribute(some_tokens(8), dla.Logit(9), pos=pos)
    assert len(alive["unembed.hook_out"]) >= 8
    kept = {name: earlier for name, earlier in alive.items() if name.startswith(("hook_", "blocks."))}
    assert not any(any(earlier) for earlier in kept.values())


def test_vocabulary_of_the_tiny_models_is_what_the_tests_think() -> None:
    assert GPT2.model().unembed.W_U.shape[1] == VOCABULARY_SIZE

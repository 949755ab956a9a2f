"""What cannot be attributed exactly is refused, with the reason and the remedy."""

import pytest
import torch
from subjects import LINE, needs_hooked_transformer
from zoo_models import bridged

import dla
from dla.testing.models import REFUSED, architecture, hooked_architecture

BLOCKLESS = r"no `blocks`: it is not a plain stack.*Pass a decoder-only language model"
NOT_CAUSAL = r"A token changes the logits at positions before it.*pass a causal language model"

REASONS = {
    "bert": NOT_CAUSAL,
    "roberta": NOT_CAUSAL,
    "t5": BLOCKLESS,
    "bart": BLOCKLESS,
    "openai-gpt": r"The residual stream cannot be read: the hook blocks\.0\.hook_resid_post never fires",
    "opt-projected": r"What leaves block 1 is not what enters the final norm.*attribute one whose blocks add to one",
    "modernbert-decoder": r"Between the final norm and the unembedding the stream is transformed by more than a",
    "deepseek_v4": r"The residual stream cannot be read: the hook blocks\.0\.hook_resid_pre never fires",
    "hrm_text": r"no `blocks`.*HrmTextForCausalLM",
}


@pytest.mark.parametrize("mode", ["raw", "compatibility"])
@pytest.mark.parametrize("name", REASONS)
def test_is_refused_with_its_reason(name: str, mode: str) -> None:
    entry = architecture(name)
    if LINE not in entry.lines:
        pytest.skip("TransformerLens does not load it")
    for decomposer in (dla.ComponentDecomposer(), dla.HeadDecomposer(), dla.LayerDecomposer()):
        with pytest.raises(dla.UnsupportedModelError, match=REASONS[name]):
            dla.Attributor(bridged(name, mode), decomposer)


def test_every_refused_entry_is_tested() -> None:
    assert {entry.name for entry in REFUSED} <= set(REASONS)


@needs_hooked_transformer
@pytest.mark.parametrize("processed", [False, True])
def test_a_bidirectional_model_is_refused(processed: bool) -> None:
    model = hooked_architecture("bidirectional").model(processed=processed)
    with pytest.raises(dla.UnsupportedModelError, match=NOT_CAUSAL):
        dla.Attributor(model, dla.ComponentDecomposer())


def test_what_is_no_model_of_transformerlens_is_refused() -> None:
    with pytest.raises(dla.UnsupportedModelError, match=r"Linear is neither .* write a ModelAdapter for it"):
        dla.Attributor(torch.nn.Linear(2, 2), dla.HeadDecomposer())

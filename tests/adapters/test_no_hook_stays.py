"""Whatever happens while the model runs, no hook of this library stays on it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from assertions import hooks_on
from dictionaries import Random
from subjects import GPT2, LLAMA, params, some_tokens

import dla
from dla.engine import forward as passes
from dla.testing import TinyModel

SUBJECTS = params([GPT2, LLAMA, TinyModel("gpt2", processed=True), TinyModel("ln", "hooked")])
TOKENS = some_tokens(1, width=20)


def asks(model: Any) -> dict[str, Callable[[], Any]]:
    """Everything that runs the model."""
    heads = dla.Attributor(model, dla.HeadDecomposer())
    result = heads.attribute(TOKENS, dla.Logit(5))
    features = dla.FeatureDecomposer({"blocks.1.hook_mlp_out": Random(model.cfg.d_model, 1)})
    return {
        "attribute": lambda: heads.attribute(TOKENS, dla.Logit(5), pos=[0, 3]),
        "slices": lambda: heads.attribute(TOKENS, dla.Logit(5), pos=None),
        "a sample": lambda: dla.Attributor(model, features, unembed="sample").attribute(TOKENS, dla.Logit(5), pos=None),
        "answers": lambda: heads.attribute(TOKENS, dla.TopTokens(2)),
        "vector": result.part("L1H1").vector,
        "refine": lambda: result.refine("L1H1", by=dla.SourceDecomposer()),
        "explain_gap": lambda: heads.explain_gap(TOKENS, dla.Logit(5)),
        "a new look": lambda: look_again(model),
    }


def look_again(model: Any) -> None:
    """At weights that are others now."""
    with torch.no_grad():
        next(model.blocks[0].parameters()).mul_(1.0)
    dla.Attributor(model, dla.HeadDecomposer())


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, RuntimeError], ids=str)
@pytest.mark.parametrize("subject", SUBJECTS)
def test_nothing_stays_on_the_model(
    subject: TinyModel, error: type[BaseException] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "SLICE_ON_CPU", 1)
    model = subject.fresh()
    handle = model.blocks[0].register_forward_hook(lambda *_: None)
    model.add_hook("blocks.1.attn.hook_z", lambda z, hook: None, is_permanent=True)
    questions = asks(model)
    before = hooks_on(model)
    for name, ask in questions.items():
        if error is None:
            ask()
        else:
            with monkeypatch.context() as patched:
                patched.setattr(model.blocks[1].attn.hook_pattern, "forward", failing(error))
                with pytest.raises((error, dla.UnsupportedModelError), match="in the midst"):
                    ask()
        assert hooks_on(model) == before, name
    handle.remove()


def failing(error: type[BaseException]) -> Callable[..., Any]:
    def forward(_: Any) -> Any:
        raise error("in the midst")

    return forward

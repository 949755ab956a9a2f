"""What it takes to recognise a model: one pass of it, and for the next attributor none."""

from typing import Any

import pytest

import dla
from dla.demo import load_small


@pytest.mark.parametrize("kind", ["raw", "bridge"])
def test_a_model_is_recognised_from_one_pass(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    model = load_small(kind)
    passes, embed = [], type(model.embed).forward

    def counting(*args: Any, **kwargs: Any) -> Any:
        passes.append(1)
        return embed(*args, **kwargs)

    # Not a hook, since a user's hooks are taken off while a model is recognised.
    monkeypatch.setattr(type(model.embed), "forward", counting)
    dla.Attributor(model, dla.HeadDecomposer())
    assert len(passes) == 1
    dla.Attributor(model, dla.NeuronDecomposer())
    assert len(passes) == 1

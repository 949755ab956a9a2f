"""Models whose weights accelerate keeps elsewhere: attributed as if they were in place, or refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, dispatch_model
from subjects import LINE, some_tokens

import dla
from dla.adapters import adapt
from dla.adapters.fingerprints import fingerprint
from dla.testing.models import architecture, bridge_of

TOKENS = some_tokens(6)
PARTS = dla.HeadDecomposer() | dla.NeuronDecomposer() | dla.ExpertDecomposer()

pytestmark = pytest.mark.filterwarnings("ignore:Some parameters are on the meta device")

RUNS = ("phi",) if LINE < 4 else ("phi", "llama-biases", "gpt2", "mixtral")
"""TransformerLens 3 gives an unembedding without bias one that accelerate does not know of."""


def offloaded(name: str, dtype: torch.dtype = torch.float32) -> Any:
    model: Any = architecture(name).hugging_face(dtype=dtype)
    bridge = bridge_of(cpu_offload(model, execution_device=torch.device("cpu")))
    assert next(bridge.parameters()).is_meta
    return bridge


def check_rows(bridge: Any, name: str, dtype: torch.dtype = torch.float32) -> None:
    plain: Any = bridge_of(architecture(name).hugging_face(dtype=dtype))
    result, expected = (
        dla.Attributor(model, PARTS).attribute(TOKENS, dla.Logit(7), pos=None) for model in (bridge, plain)
    )
    with torch.no_grad():
        own = plain(TOKENS)[..., 7].float()
    assert result.labels == expected.labels
    assert (result.output_logit - own).abs().max() < 1e-6
    assert (result.values - expected.values).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.filterwarnings("ignore::dla.CoarseDecompositionWarning")
def test_rows_are_those_of_the_model_in_one_place(name: str, dtype: torch.dtype) -> None:
    check_rows(offloaded(name, dtype), name, dtype)


@pytest.mark.skipif(LINE < 4, reason="TransformerLens 3 boots no model that is on the disk")
@pytest.mark.filterwarnings("ignore::dla.CoarseDecompositionWarning")
def test_some_weights_on_the_disk(tmp_path: Path) -> None:
    model: Any = architecture("llama").hugging_face()
    places = dict.fromkeys(["model.embed_tokens", "model.rotary_emb", "model.layers.0", "model.norm"], "cpu")
    places |= {"model.layers.1": "disk", "lm_head": "disk"}
    model = dispatch_model(model, places, main_device="cpu", offload_dir=tmp_path, force_hooks=True)
    check_rows(bridge_of(model), "llama")


def test_the_fingerprint_is_that_of_the_model_in_one_place() -> None:
    plain = bridge_of(architecture("phi").hugging_face())
    assert fingerprint(adapt(offloaded("phi"))) == fingerprint(adapt(plain))


@pytest.mark.skipif(LINE >= 4, reason="TransformerLens 4 leaves the unembedding as it is")
def test_a_weight_that_is_nowhere_is_named() -> None:
    with pytest.raises(
        dla.UnsupportedModelError, match=r"'lm_head\.bias' is on the 'meta' device.*Load the model whole"
    ):
        dla.Attributor(offloaded("llama"), dla.HeadDecomposer())

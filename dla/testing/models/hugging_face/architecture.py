"""One configuration of a Hugging Face model, and how to build it and a bridge around it."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
import transformers
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources import build_bridge_from_module

from dla.testing.models.hugging_face.sizes import Fields
from dla.testing.models.randomise import randomise
from dla.testing.models.word_tokenizer import tokenizer as tiny_tokenizer

Kind = Literal["decoder", "experts", "hybrid", "recurrent", "encoder", "encoder-decoder"]
"""What the blocks hold: attention and an MLP; experts for the MLP; attention in some blocks; none at all."""

Mode = Literal["raw", "compatibility"]
"""A bridge as it boots, or after `enable_compatibility_mode()`."""


@final
@dataclass(frozen=True)
class HuggingFaceArchitecture:
    """A tiny model of one architecture, with every parameter random.

    Attributes:
        name: Unique in the catalogue: the `model_type`, and after a dash what sets this variant apart.
        config: Makes a new configuration.
        kind: What the blocks hold.
        bridged_as: The architecture's name in TransformerLens, where that is not the model's class.
        auto_class: The transformers class whose `from_config` builds it.
        lines: The major versions of TransformerLens that boot a bridge for it.
        unfaithful: The major versions whose raw bridge computes other logits than the model that it wraps.
        d_vocab_out: How many logits there are, where that is not how many ids the embedding knows.
    """

    name: str
    config: Callable[[], transformers.PreTrainedConfig]
    kind: Kind = "decoder"
    bridged_as: str | None = None
    auto_class: str = "AutoModelForCausalLM"
    lines: tuple[int, ...] = (3, 4)
    unfaithful: tuple[int, ...] = ()
    d_vocab_out: int | None = None

    def hugging_face(self, seed: int = 0, dtype: torch.dtype = torch.float32) -> transformers.PreTrainedModel:
        """Builds the model: in evaluation mode, on the CPU, with eager attention.

        Args:
            seed: Selects the weights.
            dtype: The type of the parameters; the same seed gives the same weights up to rounding.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self._fresh(torch.float32)
            randomise(model, seed)
            if dtype != torch.float32:
                # Some parameters are drawn around a default that is random itself and depends on the dtype.
                model, weights = self._fresh(dtype), model.state_dict()
                model.load_state_dict(weights)
        return model

    def bridge(
        self,
        mode: Mode = "raw",
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        tokenizer: bool = True,
        fold_value_biases: bool = True,
    ) -> TransformerBridge:
        """Builds a bridge around a copy of the model that nothing else uses.

        A bridge wraps its model in place and compatibility mode rewrites it; `hugging_face` with the same
        seed and dtype gives the untouched model to compare with.

        Args:
            mode: "raw", or "compatibility" for `enable_compatibility_mode()`.
            seed: Selects the weights, as in `hugging_face`.
            dtype: The type of the parameters.
            tokenizer: Whether the bridge gets the tiny tokenizer, or none at all.
            fold_value_biases: Whether compatibility mode moves value biases from the heads into `b_O`.
        """
        model = self.hugging_face(seed, dtype)
        bridge = bridge_of(model) if tokenizer else _without_tokenizer(model)
        if mode == "compatibility":
            with warnings.catch_warnings():
                # "... does not support fold_ln; norm weights stay unfolded": true, and what some tests are about.
                warnings.filterwarnings("ignore", r"\w+ArchitectureAdapter does not support", UserWarning)
                bridge.enable_compatibility_mode(disable_warnings=True, fold_value_biases=fold_value_biases)
        return bridge

    def _fresh(self, dtype: torch.dtype) -> transformers.PreTrainedModel:
        build = getattr(transformers, self.auto_class).from_config
        # Experts in one grouped product know no float64.
        model: transformers.PreTrainedModel = build(
            self.config(), dtype=dtype, attn_implementation="eager", experts_implementation="eager"
        )
        if self.d_vocab_out is not None:
            model.set_output_embeddings(torch.nn.Linear(model.config.hidden_size, self.d_vocab_out, bias=False))
        model.config.architectures = [self.bridged_as or type(model).__name__]
        model.train(mode=False)
        return model


def tiny(
    name: str,
    class_name: str,
    *fields: Fields,
    kind: Kind = "decoder",
    bridged_as: str | None = None,
    auto_class: str = "AutoModelForCausalLM",
    lines: tuple[int, ...] = (3, 4),
    unfaithful: tuple[int, ...] = (),
    d_vocab_out: int | None = None,
) -> HuggingFaceArchitecture:
    """An architecture from a configuration class of transformers, looked up only when a configuration is made.

    Args:
        name: As in `HuggingFaceArchitecture`, and so the others that are not named here.
        class_name: For example "LlamaConfig".
        *fields: Arguments of that class; later ones replace earlier ones.
        kind: What the blocks hold.
        bridged_as: Its name in TransformerLens.
        auto_class: What builds it.
        lines: The major versions of TransformerLens that know it.
        unfaithful: Those that compute other logits.
        d_vocab_out: How many logits there are.
    """

    def make() -> Any:
        merged = {field: copy.deepcopy(value) for part in fields for field, value in part.items()}
        return getattr(transformers, class_name)(**merged)

    return HuggingFaceArchitecture(name, make, kind, bridged_as, auto_class, lines, unfaithful, d_vocab_out)


def bridge_of(model: transformers.PreTrainedModel) -> TransformerBridge:
    """A raw bridge, with the tiny tokenizer, around a model that it takes over."""
    return TransformerBridge.boot_transformers(
        "tiny", hf_model=model, tokenizer=tiny_tokenizer(), device="cpu", dtype=model.dtype
    )


def _without_tokenizer(model: transformers.PreTrainedModel) -> TransformerBridge:
    [architecture] = model.config.architectures or [type(model).__name__]
    return build_bridge_from_module(model, architecture, hf_config=model.config, tokenizer=None)

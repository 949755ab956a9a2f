"""`TransformerBridge`, TransformerLens 3.x and 4.x, raw or in compatibility mode."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, final
from weakref import WeakSet

from jaxtyping import Float, Int
from torch import Tensor, nn

from dla.adapters.anatomy import Anatomy
from dla.adapters.recognise.model_modules import ModelModules
from dla.adapters.transformer_lens import TransformerLensAdapter
from dla.errors import UnsupportedModelError
from dla.inputs.given import is_a, shown
from dla.provenance import model_name


def is_bridge(model: object) -> bool:
    """Whether a model is TransformerLens' wrapper of a Hugging Face model."""
    return is_a(model, "transformer_lens.model_bridge", "TransformerBridge")


# Models that do not run without a key-value cache: linear attention on TransformerLens 3.9.
_WITH_CACHE: WeakSet[Any] = WeakSet()


@final
class TransformerBridgeAdapter(TransformerLensAdapter):
    """Runs a `TransformerBridge` as it is: nothing is folded, centred or rewritten."""

    def __init__(self, model: Any) -> None:
        """Takes the model as it is; nothing runs yet.

        Args:
            model: A `TransformerBridge` of a decoder, in evaluation mode.

        Raises:
            UnsupportedModelError: If it is none, or has no plain stack of blocks, final norm and unembedding.
        """
        if not is_bridge(model):
            raise UnsupportedModelError(
                f"{shown(model)} is not a TransformerBridge. Pass one, or call dla.adapt(model)."
            )
        _check_shape(model)
        self._options = _run_options(model)
        super().__init__(model, partial(_hook_points, model))

    @property
    def anatomy(self) -> Anatomy:
        try:
            return self._anatomy.get()
        except UnsupportedModelError:
            # Without a cache such a model fails, or computes something that is refused: once more with it.
            if not self._options or self._model in _WITH_CACHE:
                raise
            _WITH_CACHE.add(self._model)
            return self._anatomy.get()

    def _forward(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch query d_vocab"]:
        options = {} if self._model in _WITH_CACHE else self._options
        logits: Tensor = self._model(tokens, return_type="logits", **options)
        return logits

    def _modules(self) -> ModelModules:
        model = self._model
        transforms: list[Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]]
        transforms = [lambda x: x, model.adapter.apply_output_logits_transform]
        return ModelModules(
            name=model_name(str(getattr(model.cfg, "model_name", None) or "TransformerBridge")),
            blocks=list(model.blocks),
            ln_final=getattr(model, "ln_final", None),
            unembed=model.unembed,
            centred=str(getattr(model.cfg, "normalization_type", "LN")).startswith("LN"),
            compatibility=bool(getattr(model, "compatibility_mode", False)),
            transforms=transforms,
        )


def _hook_points(model: Any) -> Mapping[str, nn.Module]:
    from transformer_lens.model_bridge import TransformerBridge

    # Not `model.hook_dict`: SAELens' subclass leaves out the aliases.
    named: Mapping[str, nn.Module] = TransformerBridge.hook_dict.__get__(model)
    return named


def _check_shape(model: Any) -> None:
    missing = [name for name in ("blocks", "unembed") if getattr(model, name, None) is None]
    if missing:
        raise UnsupportedModelError(
            f"This bridge has no `{missing[0]}`: it is not a plain stack of blocks with one unembedding "
            f"(architecture {getattr(model.cfg, 'architecture', 'unknown')}). Pass a decoder-only language model."
        )


def _run_options(model: Any) -> dict[str, Any]:
    """Keyword arguments of the forward pass: no key-value cache, where the model can be run without."""
    forward = getattr(model.original_model, "forward", None)
    known = inspect.signature(forward).parameters if forward is not None else {}
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
    return {"use_cache": False} if "use_cache" in known or takes_all else {}

"""Dictionaries: sparse autoencoders and transcoders, whoever made them, as an attribution sees them."""

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.errors import UnsupportedModelError


@final
@dataclass(frozen=True, eq=False)
class Dictionary:
    """What explains an activation `y` as `Σ_i f_i * scale * W_dec[i] + offset (+ x @ W_skip.T) + error`.

    `f = encode(x)`; an autoencoder reads what it explains (`x = y`), a transcoder another activation. `scale` is 1 and
    `offset` is `b_dec` unless the dictionary normalises its input.

    Attributes:
        source: The autoencoder or transcoder. Its `encode` must treat each position alone.
        reads: The hook name of `x`.
        writes: The hook name of `y`.
        by_head: Whether `encode` wants heads on an axis of their own.
        plain: Whether it normalises nothing.
    """

    source: Any
    reads: str
    writes: str
    by_head: bool
    plain: bool

    @property
    def W_dec(self) -> Float[Tensor, "feature d_out"]:
        """What each feature writes."""
        weight: Tensor = self.source.W_dec.detach()
        return weight

    @property
    def W_skip(self) -> Float[Tensor, "d_out d_in"] | None:
        """What a transcoder with a skip connection adds; None if there is none."""
        weight = getattr(self.source, "W_skip", None)
        return weight.detach() if isinstance(weight, Tensor) else None

    def explain(
        self, x: Float[Tensor, "batch pos *d_in"]
    ) -> tuple[Float[Tensor, "batch pos feature"], Float[Tensor, "batch pos d_out"]]:
        """The features, each times `scale`, and the `offset`."""
        with torch.no_grad():
            encoded = self.source.encode(x.to(self.W_dec))
            features: Tensor = encoded.to(x)
            if self.plain:
                return features, self.source.b_dec.detach().to(x).expand(*x.shape[:2], -1)
            # One call for both: a normalising dictionary keeps its scale from `encode` to the next `decode` only.
            decoded = self.source.decode(torch.stack([encoded, torch.zeros_like(encoded)]))
            whole, offset = decoded.reshape(2, *x.shape[:2], -1).to(x)
            direct = features @ self.W_dec.to(x)
            scale = (direct * (whole - offset)).sum(-1, keepdim=True) / direct.pow(2).sum(-1, keepdim=True)
            return features * scale.nan_to_num(0.0), offset


def read_dictionary(source: Any, at: str | tuple[str, str] | None) -> Dictionary:
    """A dictionary and its places in the model.

    Args:
        source: An object with `encode`, `W_dec` `[feature d_out]` and `b_dec` `[d_out]`, such as one of SAELens.
        at: The hook name of the activation that it explains; for a transcoder `(reads, writes)`; None takes it from
            the object: its `site`, or the metadata that SAELens keeps.

    Raises:
        TypeError: If the object lacks something.
        ValueError: If it does not say where it belongs, or belongs to a single head.
        UnsupportedModelError: If its `decode` is not linear in the features.
    """
    missing = [name for name in ("encode", "W_dec", "b_dec") if not hasattr(source, name)]
    if missing:
        raise TypeError(
            f"{type(source).__name__} has no `{missing[0]}`. A dictionary is an object with `encode`, `W_dec` and "
            "`b_dec`, such as an SAE or Transcoder of SAELens."
        )
    reads, writes = _places(source, at)
    by_head = bool(getattr(source, "hook_z_reshaping_mode", False))
    return Dictionary(source, reads, writes, by_head, _is_plain(source, by_head))


def _places(source: Any, at: str | tuple[str, str] | None) -> tuple[str, str]:
    metadata = getattr(getattr(source, "cfg", None), "metadata", None)
    head = getattr(metadata, "hook_head_index", None)
    if head is not None:
        raise ValueError(
            f"The dictionary explains one head (hook_head_index={head}) of a hook that shows all. "
            "Pass one that explains the whole activation."
        )
    if at is None:
        at = getattr(source, "site", None)
    if at is None:
        into, out = (getattr(metadata, name, None) for name in ("hook_name", "hook_name_out"))
        at = (into, out) if into is not None and out is not None else into
    if at is None:
        raise ValueError(
            f"{type(source).__name__} does not say where it belongs. Pass a dict from the name of the hook that it "
            "explains to the dictionary, {name: sae}; for a transcoder {(name it reads, name it explains): transcoder}."
        )
    return (at, at) if isinstance(at, str) else (str(at[0]), str(at[1]))


@torch.no_grad()
def _is_plain(source: Any, by_head: bool) -> bool:
    """Whether `decode` is `features @ W_dec + b_dec`; tried on two features.

    Raises:
        UnsupportedModelError: If it is something else, and not for the sake of a normalised input.
    """
    if not hasattr(source, "decode") or getattr(getattr(source, "cfg", None), "normalize_activations", None) in _SCALED:
        return not hasattr(source, "decode")
    if by_head:
        return True
    features = source.W_dec.new_zeros(1, 2, len(source.W_dec))
    features[0, 0, 0], features[0, 1, -1] = 1.0, 2.0
    expected, decoded = features @ source.W_dec + source.b_dec, source.decode(features)
    if decoded.shape != expected.shape or not torch.allclose(decoded, expected, rtol=1e-3, atol=1e-5):
        raise UnsupportedModelError(
            f"{type(source).__name__}.decode is not `features @ W_dec + b_dec`, so its features cannot be told apart."
        )
    return True


_SCALED = ("layer_norm", "constant_norm_rescale")
"""SAELens' names for what a dictionary does to its input, and undoes in `decode`."""

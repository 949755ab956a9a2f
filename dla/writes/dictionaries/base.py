"""A dictionary: which activation it explains, and with which features."""

from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.writes.dictionaries.encoding import encoded_each, name_of_dictionary


@final
@dataclass(frozen=True, eq=False)
class Dictionary:
    """Explains an activation `y` as `Σ_i f_i * rates_i * scale * W_dec[i] + offset (+ x @ W_skip.T) + error`.

    Here `f = encode(x)`. An autoencoder reads what it explains (`x = y`), a transcoder another activation. `scale` is 1
    and `offset` is `b_dec` unless the dictionary normalises its input; `rates` is 1 unless `decode` has a factor of its
    own for each feature, as where it divides the rows of `W_dec` by their norms.

    Attributes:
        source: The autoencoder or transcoder. Its `encode` must treat each position on its own.
        reads: The hook name of `x`.
        writes: The hook name of `y`.
        by_head: Whether `encode` takes `x` with an axis for heads.
        plain: Whether `scale` is 1 and `offset` is `b_dec`.
        rates: The factor of each feature; None where all are 1.
    """

    source: Any
    reads: str
    writes: str
    by_head: bool
    plain: bool
    rates: Float[Tensor, " feature"] | None = None

    @property
    def W_dec(self) -> Float[Tensor, "feature d_out"]:
        """The vector that each feature writes."""
        weight: Tensor = self.source.W_dec.detach()
        return weight

    @property
    def W_skip(self) -> Float[Tensor, "d_out d_in"] | None:
        """The weight of a transcoder's skip connection; None if there is none."""
        weight = getattr(self.source, "W_skip", None)
        return weight.detach() if isinstance(weight, Tensor) else None

    @torch.no_grad()
    def explain(
        self, x: Float[Tensor, "batch pos *d_in"]
    ) -> tuple[Float[Tensor, "batch pos feature"], Float[Tensor, "batch pos d_out"]]:
        """What each row of `W_dec` is multiplied by, and the `offset`.

        Raises:
            TypeError: If `encode` does not give one number per feature.
            ValueError: If `encode` cannot take the activations.
            UnsupportedModelError: If the features of a position depend on the other positions, or on chance.
        """
        raw = encoded_each(self.source, x.to(self.W_dec), name_of_dictionary(self.source, self.writes))
        features = raw.to(x) if self.rates is None else raw.to(x) * self.rates.to(x)
        if self.plain:
            return features, self.source.b_dec.detach().to(x).expand(*x.shape[:2], -1)
        # One call for both, since a normalising dictionary keeps its scale from `encode` to the next `decode` only.
        decoded = self.source.decode(torch.stack([raw, torch.zeros_like(raw)]))
        whole, offset = decoded.reshape(2, *x.shape[:2], -1).to(x)
        return features * scale_between(features @ self.W_dec.to(x), whole - offset), offset


def scale_between(
    direct: Float[Tensor, "*more d_out"], scaled: Float[Tensor, "*more d_out"]
) -> Float[Tensor, "*more one"]:
    """The factor from one vector to the other at each position; 0 where the first is 0."""
    # In the sense of least squares: no single entry decides, which may be small and badly rounded.
    scale = (direct * scaled).sum(-1, keepdim=True) / direct.pow(2).sum(-1, keepdim=True)
    return scale.nan_to_num(0.0)

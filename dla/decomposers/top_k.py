"""Only the strongest rows of a write, and the rest as one."""

from dataclasses import dataclass
from typing import final

import torch

from dla.decomposers.plans import Rows
from dla.labels import Label


@final
@dataclass(frozen=True)
class TopK:
    """Keeps the rows with the largest share of Σ|value|, on average over directions, prompts and positions.

    A share has no scale, so rows can be chosen before the final norm's scale is known, and no prompt outweighs
    another. The rest is the sum of its own values.

    Attributes:
        k: How many.
        others: The label of the rest.
        kind: Which rows compete; others stay.
    """

    k: int
    others: Label
    kind: str

    def __call__(self, rows: Rows) -> Rows:
        values = rows.values
        competing = torch.tensor([label.kind == self.kind for label in rows.labels], device=values.device)
        if int(competing.sum()) <= self.k:
            return rows
        size = values.abs() * competing.to(values).reshape(-1, *[1] * (values.ndim - 1))
        shares = (size / size.sum(0).clamp(min=torch.finfo(size.dtype).tiny)).flatten(1).mean(1)
        rest = competing.clone()
        rest[shares.topk(self.k).indices] = False
        chosen = (~rest).nonzero().squeeze(-1)
        weights = rest.to(values)
        others = torch.einsum("p,p...->...", weights, values).unsqueeze(0)
        return Rows([*(rows.labels[i] for i in chosen.tolist()), self.others], torch.cat([values[chosen], others]))

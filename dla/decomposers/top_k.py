"""The strongest rows of a write, and the sum of the others as one row."""

from dataclasses import dataclass
from typing import final

import torch

from dla.decomposers.rows import Rows
from dla.labels import Label


@final
@dataclass(frozen=True)
class TopK:
    """Keeps the rows with the largest share of Σ|value|, on average over directions, prompts and positions.

    The others become one row, the sum of their values. A share does not depend on the final norm's scale, so rows can
    be chosen before it is known, and every prompt has the same weight.

    Attributes:
        k: How many.
        others: The label of the sum of the others.
        kind: The kind of rows that compete; rows of another kind stay.
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
        # Where all values are 0 there are no shares, and that place decides nothing.
        shares = (size / size.sum(0).clamp(min=torch.finfo(size.dtype).tiny)).flatten(1).mean(1)
        rest = competing.clone()
        rest[shares.topk(self.k).indices] = False
        chosen = (~rest).nonzero().squeeze(-1)
        weights = rest.to(values)
        others = torch.einsum("p,p...->...", weights, values).unsqueeze(0)
        return Rows([*(rows.labels[i] for i in chosen.tolist()), self.others], torch.cat([values[chosen], others]))

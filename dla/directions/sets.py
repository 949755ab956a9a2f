"""Several tokens as one direction: the mean of their logits, or a weighted sum."""

from dataclasses import dataclass
from typing import Any, final

import torch

from dla.directions.base import Direction, ResolvedDirection, term_weights
from dla.directions.shapes import Several, Weights, few
from dla.inputs.given import items, number, shown, token
from dla.inputs.positions import Positions
from dla.inputs.prompts import Prompts


@final
@dataclass(frozen=True, eq=False)
class LogitSet(Direction):
    """The mean logit of several tokens, or their weighted sum; the same tokens for all prompts, or a set for each.

    Attributes:
        tokens: Texts or ids; or a list for each prompt, of any lengths.
        weights: One weight per token, in the form of the tokens; they need not sum to 1. One list for all prompts will
            do where every prompt has the same number of tokens. None for the mean.

    Raises:
        TypeError: If a token is neither a text nor an id, or a weight is not a number.
        ValueError: If there is no token, or there are more or fewer weights than tokens.
    """

    tokens: Several
    weights: Weights = None

    def __post_init__(self) -> None:
        self._terms()

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        terms = [[(prompts.vocabulary.token(one), weight) for one, weight in row] for row in self._terms()]
        if self._nested() and len(terms) != prompts.batch:
            raise ValueError(
                f"LogitSet has tokens for {len(terms)} prompts, and there are {prompts.batch}. Pass a list of tokens "
                "for each prompt, or one list for all."
            )
        ids, weights = ([[term[i] for term in row] for row in terms] for i in (0, 1))
        if all(row == weights[0] for row in weights):
            return ResolvedDirection(torch.tensor(ids, device="cpu")[:, None], term_weights(weights[0]))
        # Other weights in each prompt: terms have the same weights for all, so each prompt gets the whole vocabulary.
        dense = torch.zeros(len(terms), 1, prompts.vocabulary.size, dtype=torch.float64, device="cpu")
        for row, own in zip(dense[:, 0], terms, strict=True):
            for one, weight in own:
                row[one] += weight
        return ResolvedDirection(torch.zeros(1, 1, 0, dtype=torch.long, device="cpu"), term_weights([]), dense=dense)

    def describe(self) -> str:
        kind, terms = "mean" if self.weights is None else "weighted", self._terms()
        rows = [few([one for one, _ in row]) for row in terms]
        return f"{kind} logit of {rows[0] if not self._nested() else f'a set for each of {len(rows)} prompts'}"

    def _nested(self) -> bool:
        return any(map(_is_list, items(self.tokens) or []))

    def _terms(self) -> list[list[tuple[str | int, float]]]:
        """The tokens and weights of each prompt, or of all."""
        given = items(self.tokens)
        if not given:
            raise ValueError(f"LogitSet wants a list of at least one token, not {shown(self.tokens)}.")
        sets: list[Any] = given if self._nested() else [given]
        weights = None if self.weights is None else items(self.weights)
        apart = any(map(_is_list, weights or []))
        if self.weights is not None and (weights is None or (apart and len(weights) != len(sets))):
            raise ValueError(f"LogitSet got {shown(self.weights)} as weights; pass one weight per token.")
        return [_paired(own, weights[i] if apart and weights else weights) for i, own in enumerate(sets)]


def _paired(tokens: object, weights: object) -> list[tuple[str | int, float]]:
    """The tokens of one set with their weights."""
    own = items(tokens)
    if not own:
        raise ValueError(f"LogitSet wants a list of at least one token for each prompt, and one has {shown(tokens)}.")
    factors = [1 / len(own)] * len(own) if weights is None else items(weights) or []
    if len(factors) != len(own):
        raise ValueError(f"LogitSet got {len(own)} tokens and {len(factors)} weights; pass one weight per token.")
    return [(token(one), number(factor, "a weight")) for one, factor in zip(own, factors, strict=True)]


def _is_list(value: object) -> bool:
    return items(value) is not None

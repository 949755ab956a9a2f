"""Directions that read the logits of the whole vocabulary, or depend on the model's own prediction."""

from dataclasses import dataclass
from typing import final

import torch

from dla.directions.base import Direction, ResolvedDirection, term_weights
from dla.directions.shapes import Tokens, ids_of, read_tokens, words
from dla.inputs.positions import Positions
from dla.inputs.prompts import Prompts


@final
@dataclass(frozen=True, eq=False)
class CentredLogit(Direction):
    """The logit of a token minus the mean logit of the vocabulary, so without the offset that all tokens share.

    Attributes:
        token: As in `Logit`.
    """

    token: Tokens

    def __post_init__(self) -> None:
        read_tokens(self.token)

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        # One number, expanded: a weight per token takes no memory.
        size = prompts.vocabulary.size
        dense = torch.full((1, 1, 1), -1 / size, dtype=torch.float64, device="cpu").expand(1, 1, size)
        ids = ids_of(self.token, prompts, positions).unsqueeze(-1)
        return ResolvedDirection(ids, term_weights([1.0]), dense=dense)

    def describe(self) -> str:
        return f"centred logit of {words(self.token)}"


@final
@dataclass(frozen=True, eq=False)
class LogProbability(Direction):
    """The logit of a token minus the mean logit under the model's own prediction `p`: `w_v - E_p[w]`.

    The logarithm of the softmax is not linear in the stream, so no attribution adds up to `log p_v` itself. This
    direction is its gradient with respect to the logits, at the model's own prediction. Its rows and constant sum to

        logit_v - Σ_u p_u logit_u  =  log p_v + H(p),

    the log-probability plus the entropy of the prediction, in nats: how much more likely the token is than tokens of
    the prediction are on average. (Where the model transforms its logits, by a soft cap or a scale, `p` is computed
    from the transformed logits and the rows are of those before, so the right-hand side does not hold.) One more
    forward pass, or the cache, gives `p`, which is not attributed itself. `result.answers()` tells the log-probability
    itself; `Continuation` has it as its logit, with `-H(p)` in the constant.

    Attributes:
        token: As in `Logit`.

    Source: `∂ log p_v / ∂ logit = e_v - p`, the gradient of the log-softmax.
    """

    token: Tokens
    needs_answers = True

    def __post_init__(self) -> None:
        read_tokens(self.token)

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        ids = ids_of(self.token, prompts, positions).unsqueeze(-1)
        # In float32 the probabilities of a real vocabulary sum to 1 ± 1e-5, and all logits share a large offset.
        answers = prompts.answered()
        return ResolvedDirection(ids, term_weights([1.0]), dense=-answers.double().softmax(-1).to(answers.dtype))

    def describe(self) -> str:
        return f"logit of {words(self.token)} minus the mean logit of the prediction (log-probability + entropy)"

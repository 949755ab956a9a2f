"""Which linear function of the logits is attributed: a token's logit, a difference, a mean, a vector.

Every direction is a linear function of the logits before any soft cap, plus one of the final norm's output, or of the
stream at an earlier place. Directions can therefore be added, subtracted and scaled: `Logit(" Mary") - Logit(" John")`,
`2 * d`.
"""

from dla.directions.answers import CentredLogit, LogProbability
from dla.directions.base import Combination, Direction, ResolvedDirection, mean, one_place
from dla.directions.continuation import Continuation
from dla.directions.sets import LogitSet
from dla.directions.several import Directions, DirectionSet, TopTokens, question
from dla.directions.shapes import Tokens, read_tokens
from dla.directions.tokens import Logit, LogitDifference, NextToken
from dla.directions.vectors import ResidualVector

__all__ = [
    "CentredLogit",
    "Combination",
    "Continuation",
    "Direction",
    "Directions",
    "LogProbability",
    "Logit",
    "LogitDifference",
    "LogitSet",
    "NextToken",
    "ResolvedDirection",
    "ResidualVector",
    "DirectionSet",
    "Tokens",
    "TopTokens",
    "mean",
    "one_place",
    "question",
    "read_tokens",
]

"""Answers of several tokens, each asked at the position before it, in one pass over prompt and answer."""

from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from dla.directions.base import Direction, ResolvedDirection, term_weights
from dla.directions.shapes import few
from dla.directions.tokens import following_ids
from dla.inputs.columns import Column
from dla.inputs.continuations import Continuations, Continued, continued, read_continuations
from dla.inputs.positions import Positions
from dla.inputs.prompts import Mask, Prompts, Text
from dla.inputs.vocabulary import Vocabulary


@final
@dataclass(frozen=True, eq=False)
class Continuation:
    """An answer of one token or more, put behind the prompt: how the model comes to each of its tokens.

    The model reads prompt and answer together (teacher forcing), in one pass. The result has a position for each token
    of the answer, the one before it, with a proof of its own; where one number is printed it is their sum, which
    `result.sum_positions()` gives as a result.

    Alone it asks for log-probabilities, `log p_v = logit_v - log Σ_u exp logit_u`, and their sum is that of the
    answer. The logarithm is not linear: the rows are those of `LogProbability`, `logit_v - Σ_u p_u logit_u`, and the
    entropy of the prediction, `log p_v = that - H(p)`, stands in the constant, since no part writes it. (Where the
    model transforms its logits, this holds for `output_logit`.)

    With another answer of as many tokens it asks for differences of logits, token by token. From the second token on,
    the model has read the first answer, and the other one's tokens are asked behind that.

    Attributes:
        answer: A text, which is tokenized as one text with the prompt and must leave its tokens as they are; a tensor
            of ids `[token]`; or a list with one for each prompt. Prompts and answers may have any lengths. In a sweep
            also a `Column` of the corpus.
        minus: The other answer, of as many tokens, in the same forms; None for log-probabilities.

    Raises:
        TypeError: If an answer is none of these.
        ValueError: If an answer is empty, or a list of ids could be read in two ways.

    Source: the chain rule, `log p(answer) = Σ_t log p(token_t | prompt, tokens before t)`.
    """

    answer: Continuations
    minus: Continuations | None = None

    def __post_init__(self) -> None:
        for given in (self.answer, *([] if self.minus is None else [self.minus])):
            if not isinstance(given, Column):
                read_continuations(given)

    def posed(
        self,
        prompts: Text | Tensor | Prompts | None,
        vocabulary: Vocabulary,
        attention_mask: Mask = None,
        prepend_bos: bool | None = None,
    ) -> tuple[Continued, "FollowingTokens"]:
        """What is run, where it is asked about, and what is asked there.

        Args:
            prompts: What comes before the answers.
            vocabulary: The model's.
            attention_mask: As in `read_prompts`.
            prepend_bos: As in `read_prompts`.

        Raises:
            TypeError: As `continued`.
            ValueError: As `continued`; or if the two answers have different numbers of tokens.
        """
        asked = continued(prompts, self.answer, vocabulary, attention_mask, prepend_bos)
        others = None
        if self.minus is not None:
            others = _others(asked, continued(prompts, self.minus, vocabulary, attention_mask, prepend_bos))
        return asked, FollowingTokens(self.describe(), others)

    def describe(self) -> str:
        """The question in words."""
        if self.minus is None:
            return f"log-probability of {words_of(self.answer)}"
        return f"logit difference {words_of(self.answer)} - {words_of(self.minus)}, token by token"


@final
@dataclass(frozen=True, eq=False)
class FollowingTokens(Direction):
    """The log-probability of the token that follows each position, or its logit minus that of another token.

    Attributes:
        words: What is asked, in words.
        others: The other tokens; None for log-probabilities.
    """

    words: str
    others: Int[Tensor, "batch query"] | None = None
    needs_answers: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "needs_answers", self.others is None)

    def resolve(self, prompts: Prompts, positions: Positions) -> ResolvedDirection:
        ids = following_ids(prompts, positions)
        if self.others is not None:
            return ResolvedDirection(torch.stack([ids, self.others], -1), term_weights([1.0, -1.0]))
        answers = prompts.answered()
        p = answers.double().softmax(-1)
        entropy = torch.special.entr(p).sum(-1)
        return ResolvedDirection(
            ids.unsqueeze(-1), term_weights([1.0]), dense=-p.to(answers.dtype), offset=-entropy.to(answers.dtype)
        )

    def describe(self) -> str:
        return self.words


def _others(asked: Continued, other: Continued) -> Int[Tensor, "batch query"]:
    """The tokens of the other answers, where those of the first are asked about."""
    pairs = list(zip(asked.after(), other.after(), strict=True))
    for i, (first, second) in enumerate(pairs):
        if len(first) != len(second):
            text = asked.prompts.vocabulary.text
            told = [f"{len(ids)} tokens ({few([text(one) for one in ids])})" for ids in (first, second)]
            raise ValueError(
                f"The two continuations of prompt {i} are {told[0]} and {told[1]}; a difference of logits is taken "
                "token by token. Ask for each alone, and compare their log-probabilities."
            )
    width = max(len(first) for first, _ in pairs)
    return torch.tensor([second + [0] * (width - len(second)) for _, second in pairs], device="cpu")


def words_of(given: Continuations) -> str:
    """Continuations in words, shortened where there are many."""
    if isinstance(given, Column):
        return given.name
    read = read_continuations(given)
    texts = [one for one in read.each if isinstance(one, str)]
    if len(texts) == len(read.each):
        return few(texts)
    return f"{len(read.each[0])} ids" if read.shared else f"ids for each of {len(read.each)} prompts"

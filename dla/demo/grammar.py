"""Sentences about two people, one of whom gives the other something.

The name that is said once is the indirect object, and the answer; the name that is said twice is the subject.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, final

from dla.demo.words import OBJECTS, PEOPLE, PLACES
from dla.inputs.given import count, shown, whole_number

_MOST = 10_000_000

Order = Literal["ABBA", "BABA"]
ORDERS: tuple[Order, ...] = ("ABBA", "BABA")
TEMPLATES = {
    "went": "When {first} and {second} went to the {place} , {subject} gave a {object} to",
    "talk": "Then , {first} and {second} had a talk at the {place} . Later {subject} handed the {object} to",
    "left": "After {first} and {second} left the {place} , {subject} decided to give a {object} to",
    "worked": "{first} and {second} worked at the {place} . Today {subject} sold a {object} to",
    "waiting": "While {first} and {second} were waiting at the {place} , {subject} passed the {object} to",
    "quiet": "The {place} was quiet when {first} and {second} arrived , so {subject} brought a {object} to",
    "found": "{first} and {second} found a {object} near the {place} , and {subject} showed it to",
}


@final
@dataclass(frozen=True)
class Prompt:
    """A sentence without its last word.

    Attributes:
        text: The sentence up to the word to predict; no beginning-of-sentence token.
        answer: The name that completes it, with its leading space.
        incorrect: The other name, with its leading space.
        template: The key in `TEMPLATES`.
        order: With A the answer and B the other name: "ABBA" when the answer is named first, else "BABA".
    """

    text: str
    answer: str
    incorrect: str
    template: str
    order: Order


def name_pairs(*, held_out: bool) -> list[tuple[str, str]]:
    """The pairs of names kept for evaluation, or else those of training. A pair has no order."""
    pairs = itertools.combinations(range(len(PEOPLE)), 2)
    return [(PEOPLE[i], PEOPLE[j]) for i, j in pairs if ((i + j) % 5 == 0) == held_out]


def giving_prompts(n: int, seed: int = 0, *, held_out: bool = True) -> list[Prompt]:
    """Makes up prompts. Templates and name orders take turns; names, places and objects are drawn at random.

    Args:
        n: How many.
        seed: The same seed gives the same prompts.
        held_out: Take pairs of names that the demo model has never seen together, or else those of training.

    Examples:
        >>> giving_prompts(1)[0].template
        'went'
    """
    n = count(n, "n", "prompts", least=0)
    if n > _MOST:
        raise ValueError(f"n={n}: ask for at most {_MOST} prompts.")
    if whole_number(seed) is None:
        raise TypeError(f"seed={shown(seed)} is not a whole number. Pass one, such as 0.")
    return list(itertools.islice(_endless(random.Random(seed), name_pairs(held_out=held_out)), n))


def _endless(rng: random.Random, pairs: list[tuple[str, str]]) -> Iterator[Prompt]:
    for order, template in itertools.cycle(itertools.product(ORDERS, TEMPLATES)):
        answer, subject = rng.sample(rng.choice(pairs), 2)
        first, second = (answer, subject) if order == "ABBA" else (subject, answer)
        text = TEMPLATES[template].format(
            first=first, second=second, subject=subject, place=rng.choice(PLACES), object=rng.choice(OBJECTS)
        )
        yield Prompt(text, f" {answer}", f" {subject}", template, order)

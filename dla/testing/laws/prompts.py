"""Prompts unlike a few ordinary words: as long as the model can read, with special tokens, with a word twice."""

from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor

from dla.directions import Logit
from dla.testing.laws.case import Case, Problem, random_ids
from dla.testing.laws.compare import ALLOWED_ROUNDINGS
from dla.testing.raised import words_of_exception
from dla.tolerances import TOLERANCE

_LONGEST = 128
"""How many tokens are tried of a model that reads more, or does not say."""

_Ids = Int[Tensor, "batch pos"]


def find_in_length(case: Case) -> Problem | None:
    """The rows add up in a prompt as long as the model can read."""
    width = min(case.adapter.context or _LONGEST, _LONGEST)
    tokens = _ordinary(case, 1, width)
    if not _missed(case, tokens):
        return None
    shortest = _shortest(case, tokens)
    cause = (
        f"With up to {shortest - 1} tokens they are, and from {shortest} on not: what is read ends there, or is kept "
        "in a table of that size."
        if shortest > 1
        else ""
    )
    return Problem(_missed(case, tokens[:, :shortest]), cause, tokens[:, :shortest])


def _shortest(case: Case, tokens: _Ids) -> int:
    """The shortest beginning of a prompt that shows it, found by halving: what breaks with some breaks with more."""
    least, most = 1, tokens.shape[1]
    while least < most:
        middle = (least + most) // 2
        if _missed(case, tokens[:, :middle]):
            most = middle
        else:
            least = middle + 1
    return most


def find_in_special_tokens(case: Case) -> Problem | None:
    """The rows add up in a prompt that holds BOS, padding as text, an unknown word, and a word twice."""
    special = _special(case)
    tokens = _ordinary(case, 2, 2 * len(special) + 4)
    others = tokens[:, -1]
    tokens = tokens[:, :-1]
    plain = tokens.clone()
    for i, token in enumerate(special.values()):
        tokens[0, 2 * i], tokens[1, 2 * i + 1] = token, token
    tokens[:, -1] = tokens[:, -2]
    problem = _missed(case, tokens)
    if not problem or _missed(case, plain):  # where ordinary words do not add up either, other laws say so
        return None
    without = {name: torch.where(tokens == token, plain, tokens) for name, token in special.items()}
    once = tokens.clone()
    once[:, -1] = others
    without["the second of two equal words"] = once
    guilty = [name for name, words in without.items() if not _missed(case, words)]
    return Problem(problem, f"Once {guilty[0]} is replaced by another word, they are." if guilty else "", tokens)


def _special(case: Case) -> Mapping[str, int]:
    """The tokens that stand for something else than a word, by what they are called."""
    words = case.adapter.vocabulary
    named = {"BOS": words.bos, "padding that is text": words.pad, "the unknown word": words.unknown}
    return {name: token for name, token in named.items() if token is not None and 0 <= token < words.input_size}


def _ordinary(case: Case, batch: int, width: int) -> _Ids:
    """Words that are no special tokens; each once in a prompt, where there are enough."""
    size, special = case.adapter.vocabulary.input_size, set(_special(case).values())
    words = torch.tensor([token for token in range(min(size, 1000)) if token not in special] or [0])
    order = random_ids(21, 2**30, batch, max(width, len(words))).argsort(-1) % len(words)
    return words[order[:, :width]]


def _missed(case: Case, tokens: _Ids) -> str:
    """Where the rows miss the model's own logit the most, or what was raised; empty where they do not."""
    ids = random_ids(22, case.adapter.vocabulary.size, *tokens.shape)
    try:
        result = case.attribute(Logit(ids), tokens, attention_mask=torch.ones_like(tokens))
    except Exception as error:  # a decomposer under check may raise anything, and the report is about just that
        return words_of_exception(error)
    # As elsewhere in the checks: several times what an attribution allows, since rows may nearly cancel.
    tolerance = result.tolerance * (ALLOWED_ROUNDINGS / TOLERANCE)
    excess = (result.gap.abs() / tolerance).nan_to_num(torch.inf)
    if bool((excess <= 1).all()):
        return ""
    prompt, position = divmod(int(excess.argmax()), tokens.shape[1])
    gap, allowed = float(result.gap[prompt, position]), float(tolerance[prompt, position])
    return (
        "The rows and the constant should be the model's own logit, and miss it by "
        f"{gap:+.2g} at prompt {prompt}, position {position} (allowed {allowed:.1e})."
    )

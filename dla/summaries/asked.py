"""Whether two sweeps asked the same of the prompts that they have in common."""

from typing import Any

import pandas as pd

from dla.summaries.about import About
from dla.summaries.gather import Pairs

_NOTHING = ""

Asked = tuple[str | int, str | int, int]
"""The answer, the incorrect token, and how far from the prompt's end the position is."""


def check_asked(first: About, second: About) -> None:
    """Whether both ask for logits, or both for differences.

    Raises:
        ValueError: If not.
    """
    if first.direction != second.direction:
        raise ValueError(
            f"The sweep in {', '.join(first.folders)} asks for the {first.direction}, and the one in "
            f"{', '.join(second.folders)} for the {second.direction}. {_REMEDY}"
        )


def check_pairs(pairs: Pairs, first: About, second: About) -> None:
    """Whether each pair of rows asks for the same tokens at the same position.

    Raises:
        ValueError: If one does not; names the first.
    """
    rows = pairs.first.prompts["row"].tolist()
    one, other = _questions(pairs.first.prompts), _questions(pairs.second.prompts)
    apart = [i for i in range(len(rows)) if one[i] != other[i]]
    if apart:
        i = min(apart, key=rows.__getitem__)
        raise ValueError(
            f"Row {rows[i]} asks for {_words(one[i])} in {', '.join(first.folders)}, and for {_words(other[i])} in "
            f"{', '.join(second.folders)}. {_REMEDY}"
        )
    by_ids = [i for i in range(len(rows)) if any(isinstance(token, int) for token in one[i][:2])]
    if by_ids and first.identity["tokenizer"] != second.identity["tokenizer"]:
        i = min(by_ids, key=rows.__getitem__)
        raise ValueError(
            f"Row {rows[i]} gives its tokens as ids ({_words(one[i])}), and the two models' tokenizers differ: an id "
            "is another token to each. Sweep with the tokens' texts."
        )


_REMEDY = "Differences are taken between sweeps that ask the same of each prompt; sweep again with the same corpus."


def _questions(prompts: pd.DataFrame) -> list[Asked]:
    """What each row asks. Positions count from the end: another tokenizer, or a BOS token, moves the beginning."""
    places = (prompts["tokens"] - prompts["at"]).tolist()
    return list(zip(_tokens(prompts, "answer"), _tokens(prompts, "incorrect"), places, strict=True))


def _tokens(prompts: pd.DataFrame, name: str) -> list[str | int]:
    """Tokens as a row names them: texts or ids. A column of ids with gaps holds fractions."""
    if name not in prompts.columns:
        return [_NOTHING] * len(prompts)
    return [_token(value) for value in prompts[name].tolist()]


def _token(value: Any) -> str | int:
    if value is None or value != value:
        return _NOTHING
    return int(value) if isinstance(value, int | float) else str(value)


def _words(question: Asked) -> str:
    answer, incorrect, place = question
    tokens = repr(answer) if incorrect == _NOTHING else f"{answer!r} - {incorrect!r}"
    return f"{tokens} at position {-place}"

"""What is asked, as a command line says it."""

from typing import TYPE_CHECKING

import dla

if TYPE_CHECKING:
    import dla.inputs


def direction_of(answer: str, incorrect: str | None, vocabulary: "dla.inputs.Vocabulary") -> "dla.Direction":
    """A token's logit, or the difference of two.

    Args:
        answer: A token: its text, or its id, written id:464.
        incorrect: The token whose logit is subtracted.
        vocabulary: The model's.

    Raises:
        ValueError: If one of them is no token.
    """
    if incorrect is None:
        return dla.Logit(_token(answer, vocabulary))
    return dla.LogitDifference(_token(answer, vocabulary), _token(incorrect, vocabulary))


def _token(token: str, vocabulary: "dla.inputs.Vocabulary") -> str | int:
    """Its text, or its id where that is what was written."""
    marked, _, number = token.partition("id:")
    if marked or not token:
        return token
    if number.isdecimal():
        return int(number)
    try:
        return vocabulary.token(token)
    except ValueError:
        raise ValueError(
            f"{token!r} is not a token, and {number!r} is not an id, which is a whole number. Write id:464, or the "
            "token's text."
        ) from None

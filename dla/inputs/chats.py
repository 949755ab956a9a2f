"""Chats as prompts: lists of messages, written out by the tokenizer's own template."""

from collections.abc import Mapping
from typing import Any

from dla.inputs.given import items, shown
from dla.inputs.vocabulary import Vocabulary

_SUCH_AS = "{'role': 'user', 'content': 'Hello'}"


def chats_in(prompts: object, vocabulary: Vocabulary) -> list[str] | None:
    """Chats as text, each with what makes the model answer at its end; None where the prompts are no chats.

    Args:
        prompts: A list of messages, or a list of such lists; or anything else.
        vocabulary: The model's.

    Raises:
        TypeError: If a message is none, or chats and other prompts are mixed.
        ValueError: If a chat is empty, there is no template, or the template refuses it.
    """
    given = None if isinstance(prompts, str | Mapping) else items(prompts)
    if not given:
        return None
    if isinstance(given[0], Mapping):
        return [_written_out(given, "The chat", vocabulary)]
    several = [None if isinstance(each, str | Mapping) else items(each) for each in given]
    if not any(each and isinstance(each[0], Mapping) for each in several):
        return None
    wrong = next((i for i, each in enumerate(several) if not each), None)
    if wrong is not None:
        raise TypeError(f"Chat {wrong} is {shown(given[wrong])}. Pass a list of messages, such as [{_SUCH_AS}].")
    return [_written_out(each or [], f"Chat {i}", vocabulary) for i, each in enumerate(several)]


def _written_out(messages: list[Any], which: str, vocabulary: Vocabulary) -> str:
    for i, message in enumerate(messages):
        fields = dict(message) if isinstance(message, Mapping) else {}
        if not all(isinstance(fields.get(name), str) for name in ("role", "content")):
            raise TypeError(
                f"{which} has the message {shown(message)} at place {i}. A message is a dict with two texts, the "
                f"role and the content: {_SUCH_AS}."
            )
    if vocabulary.chat is None:
        raise ValueError(
            f"{which} is a list of messages, and the model's tokenizer has no chat template. Pass the prompt as text, "
            "or set `tokenizer.chat_template` to that of the model."
        )
    return vocabulary.chat(messages)

"""Text that the library did not make, on a terminal, in HTML, in a figure and in a CSV file."""

from html import escape

from rich.text import Text

from dla.text import as_text

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""How a cell begins that a spreadsheet computes."""


def as_printed(text: str) -> Text:
    """A text as a terminal shows it, line by line: rich reads neither markup nor names of emoji in it."""
    return Text("\n".join(map(as_text, text.split("\n"))))


def as_html(text: str) -> str:
    """A text as HTML shows it."""
    return escape(as_text(text))


def as_label(text: str) -> str:
    """A text as plotly shows it, which reads some tags and entities, and TeX between two dollars."""
    return escape(as_text(text), quote=False).replace("$", "&#36;")


def as_cell(value: object) -> object:
    """A value of a CSV file: a text that a spreadsheet would take for a formula has an apostrophe in front.

    A number is one even as a text: `-0.5` stays.
    """
    if not isinstance(value, str) or not value.startswith(_FORMULAS) or _is_number(value):
        return value
    return f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

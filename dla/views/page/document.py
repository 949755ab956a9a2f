"""The file of a page: its markup, its styles and its script, and a policy that allows nothing else."""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

from dla.views.endings import check_target
from dla.views.files import replacing
from dla.views.page.page_data import PageData
from dla.views.text import as_html

HTML_ENDINGS = (".html", ".htm")

_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{styles}</style>
</head>
<body>
<main id="page"><h1>{title}</h1><noscript>{fallback}</noscript></main>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def page_html(data: PageData, fallback: str) -> str:
    """A page as text.

    Args:
        data: What it shows.
        fallback: HTML for a reader whose browser runs no script.
    """
    styles, script = _own("page.css"), _own("explore.js")
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(styles)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return _DOCUMENT.format(
        policy=policy, title=as_html(data.title), styles=styles, fallback=fallback, data=data.json(), script=script
    )


def write_page(path: Path, data: PageData, fallback: str) -> None:
    """Writes a page. The file appears whole or not at all.

    Raises:
        ValueError: If the name has the ending of another format.
        OSError: If there is no such folder, or the file cannot be written there.
    """
    check_target(path, HTML_ENDINGS, "an HTML page", tabular=False)
    text = page_html(data, fallback)
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


@cache
def _own(name: str) -> str:
    return files("dla.views.page").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """As a Content-Security-Policy names the text of an element."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"

"""A headless browser, where there is one."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REQUIRED = "DLA_BROWSER_TESTS"
"""Set to `required` in the environment, a missing browser is a failure and no reason to skip."""

INSTALL = "apt-get install chromium, and pip install playwright axe-playwright-python"


def chromium() -> str | None:
    """Where the browser is: Debian's, or the one that `CHROMIUM` names."""
    named = [os.environ.get("CHROMIUM"), "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
    return next((path for path in named if path and Path(path).is_file()), shutil.which("chromium"))


def missing(why: str) -> None:
    """Skips, or fails where a browser is required."""
    message = f"{why}. Install both: {INSTALL}"
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("Playwright is not installed")
    path = chromium()
    if path is None:
        missing("There is no Chromium")
    with sync_playwright() as playwright:
        # In a container, where tests run as root, Chromium cannot make its sandbox.
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])

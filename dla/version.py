"""The versions that a result records."""

from functools import cache
from importlib.metadata import version

__version__ = "0.1.0"


@cache
def versions() -> dict[str, str]:
    """The versions of this library and of what it runs on."""
    return {"dla": __version__, **{name: version(name) for name in ("transformer-lens", "transformers", "torch")}}

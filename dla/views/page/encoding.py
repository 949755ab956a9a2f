"""Numbers and texts inside of a page: arrays in base64, JSON in which nothing ends its script block."""

import base64
import json
import math
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dla.text import as_text

_MARKUP = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def base64_of(array: Shaped[np.ndarray, "..."], dtype: str) -> str:
    """The numbers of an array, first axis outermost, little-endian.

    Args:
        array: The numbers.
        dtype: As NumPy writes it, such as "<f4".
    """
    return base64.b64encode(np.ascontiguousarray(array).astype(dtype).tobytes()).decode("ascii")


def script_json(value: Any) -> str:
    """JSON for a script block: every text is shown as it is, and none can close the block or open a comment."""
    return json.dumps(_shown(value), ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_MARKUP)


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, dict):
        return {as_text(key) if isinstance(key, str) else key: _shown(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return list(map(_shown, value))
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""An attribution of one prompt, or of all positions together."""

from dataclasses import replace
from typing import Any

from dla.results.attributed import AttributedRows
from dla.results.attribution_table import over_positions

_ADDED = ("values", "total", "constant", "logit", "output_logit", "tolerance")


def summed(result: AttributedRows) -> dict[str, Any]:
    """The fields of an attribution that is the sum over the positions of another.

    Raises:
        ValueError: If it has no axis of positions.
    """
    provenance = result.provenance
    if "position" not in provenance.dims:
        raise ValueError("The result is about one position of each prompt; there is nothing to sum.")
    dims = tuple(dim for dim in provenance.dims if dim != "position")
    words = f"{provenance.direction}, sum over positions" if not provenance.summed else provenance.direction
    return {
        **{name: over_positions(getattr(result, name)) for name in _ADDED},
        "positions": result.positions.amax(-1),
        "provenance": replace(provenance, direction=words, dims=dims, summed=True),
        "rerun": None,
    }

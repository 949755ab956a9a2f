"""What views and later questions need of an attribution."""

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from dla.inputs.given import shown
from dla.results.rerun import Rerun
from dla.views.plots.rows import RowsOfResult

if TYPE_CHECKING:
    import xarray


@runtime_checkable
class AttributedRows(RowsOfResult, Protocol):
    """Rows with their values, their proof and the run that they come from, each as it is described in `Attribution`."""

    @property
    def labels(self) -> list[str]: ...

    @property
    def gap(self) -> Float[Tensor, "*direction_batch_and_pos"]: ...

    @property
    def rerun(self) -> Rerun | None: ...

    @property
    def directions(self) -> list[str]: ...

    def direction(self, name: str) -> "AttributedRows": ...

    def select(self, label: Any = None) -> "AttributedRows": ...

    def group_by(self, key: Any) -> "AttributedRows": ...

    def to_xarray(self) -> "xarray.Dataset": ...


def run_of(result: object, what: str) -> Rerun:
    """Where an attribution comes from.

    Args:
        result: The attribution.
        what: What is asked of it, for messages.

    Raises:
        TypeError: If it is none.
        ValueError: If it was read from a file or a pickle.
    """
    if not isinstance(result, AttributedRows):
        raise TypeError(f"{what}: {shown(result)} is no attribution. Pass what attributor.attribute(...) returned.")
    if result.rerun is None and result.provenance.summed and "position" not in result.provenance.dims:
        raise ValueError(
            f"{what} runs the model again, and this is a sum over positions. Ask the result that it is the sum of; "
            "what comes out can be summed again."
        )
    if result.rerun is None:
        raise ValueError(
            f"{what} runs the model again, and this result was read from a file or a pickle"
            f"{', or is one prompt of an edited run' if result.provenance.edits else ''}. Attribute again."
        )
    return result.rerun

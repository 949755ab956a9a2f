"""What views and later questions need of an attribution."""

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from dla.labels import Label
from dla.provenance import Provenance
from dla.results.rerun import Rerun

if TYPE_CHECKING:
    import xarray


@runtime_checkable
class AttributedRows(Protocol):
    """Rows with their values and their proof, each as it is described in `Attribution`."""

    @property
    def parts(self) -> tuple[Label, ...]: ...

    @property
    def labels(self) -> list[str]: ...

    @property
    def values(self) -> Float[Tensor, "part *direction_batch_and_pos"]: ...

    @property
    def total(self) -> Float[Tensor, "*direction_batch_and_pos"]: ...

    @property
    def constant(self) -> Float[Tensor, "*direction_batch_and_pos"]: ...

    @property
    def logit(self) -> Float[Tensor, "*direction_batch_and_pos"]: ...

    @property
    def gap(self) -> Float[Tensor, "*direction_batch_and_pos"]: ...

    @property
    def positions(self) -> Int[Tensor, "*batch_and_pos"]: ...

    @property
    def tolerance(self) -> Float[Tensor, "*direction_batch_and_pos"]: ...

    @property
    def rerun(self) -> Rerun | None: ...

    @property
    def directions(self) -> list[str]: ...

    @property
    def provenance(self) -> Provenance: ...

    def direction(self, name: str) -> "AttributedRows": ...

    def select(self, label: Any = None) -> "AttributedRows": ...

    def group_by(self, key: Any) -> "AttributedRows": ...

    def to_xarray(self) -> "xarray.Dataset": ...

"""A corpus instead of a prompt: every row attributed, the rows kept in Parquet files, in one process or many."""

from dla.sweeps.engines import Engine, LocalEngine, RayEngine
from dla.sweeps.folder import Shard, SweepFolder, open_sweep
from dla.sweeps.manifest_fields import PartOf
from dla.sweeps.sweeping import sweep

__all__ = ["Engine", "LocalEngine", "PartOf", "RayEngine", "Shard", "SweepFolder", "open_sweep", "sweep"]

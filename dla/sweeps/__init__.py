"""A corpus instead of a prompt: every row attributed, the rows kept in Parquet files, in one process or many."""

from dla.sweeps.folder import PartOf, Shard, SweepFolder, open_sweep

__all__ = ["PartOf", "Shard", "SweepFolder", "open_sweep"]

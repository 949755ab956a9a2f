"""Engines: where the work is done."""

from dla.sweeps.engines.base import Engine, Job
from dla.sweeps.engines.local import LocalEngine

__all__ = ["Engine", "Job", "LocalEngine"]

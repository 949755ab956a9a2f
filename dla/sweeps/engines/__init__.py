"""Engines: where the work is done."""

from dla.sweeps.engines.base import Engine, SweepJob
from dla.sweeps.engines.local import LocalEngine
from dla.sweeps.engines.ray_actors import RayEngine

__all__ = ["Engine", "SweepJob", "LocalEngine", "RayEngine"]

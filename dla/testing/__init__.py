"""What users need to test a decomposer or an adapter of their own; importing it needs neither pytest nor hypothesis."""

from dla.testing.adapters import check_adapter
from dla.testing.decomposers import check_decomposer
from dla.testing.profiles import Profile
from dla.testing.report import Report, Step
from dla.testing.subjects import Subject, Tiny

__all__ = ["Profile", "Report", "Step", "Subject", "Tiny", "check_adapter", "check_decomposer"]

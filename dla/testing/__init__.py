"""What users need to test an adapter of their own; importing it needs neither pytest nor hypothesis."""

from dla.testing.adapters import check_adapter
from dla.testing.report import AdapterReport, Step

__all__ = ["AdapterReport", "Step", "check_adapter"]

"""Checks for what you write to extend the library; importing it needs neither pytest nor hypothesis."""

from dla.testing.altered_adapter import AlteredAdapter
from dla.testing.assertions import assert_attributions_equal, assert_reconstructs, assert_refines
from dla.testing.check_ablation import check_ablation
from dla.testing.check_adapter import check_adapter
from dla.testing.check_decomposer import check_decomposer
from dla.testing.check_dictionary import check_dictionary
from dla.testing.check_direction import check_direction
from dla.testing.parametrize import parametrize_with_checks
from dla.testing.profiles import Profile
from dla.testing.report import CheckResult, Report
from dla.testing.subjects import Subject, TinyModel

__all__ = [
    "AlteredAdapter",
    "Profile",
    "Report",
    "CheckResult",
    "Subject",
    "TinyModel",
    "assert_attributions_equal",
    "assert_reconstructs",
    "assert_refines",
    "check_ablation",
    "check_adapter",
    "check_decomposer",
    "check_dictionary",
    "check_direction",
    "parametrize_with_checks",
]

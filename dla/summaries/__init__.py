"""What a sweep found on average, how sure that is, and on which prompts it shows most."""

from dla.summaries.comparing import compare
from dla.summaries.comparison import Comparison
from dla.summaries.extremes import ExtremePrompt
from dla.summaries.intervals import BootstrapInterval, Interval, NormalInterval
from dla.summaries.moments import Moments
from dla.summaries.replicates import Replicates
from dla.summaries.stability import Stability
from dla.summaries.summary import Summary

__all__ = [
    "BootstrapInterval",
    "Comparison",
    "ExtremePrompt",
    "Interval",
    "Moments",
    "NormalInterval",
    "Replicates",
    "Stability",
    "Summary",
    "compare",
]

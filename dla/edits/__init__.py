"""Edits: what stands in the place of what a part wrote, while the model runs, and the rows of what edits add."""

from dla.edits.ablations import Ablation, Add, Fixed, Mean, Resample, Written, Zero
from dla.edits.edit import Edit

__all__ = ["Ablation", "Add", "Edit", "Fixed", "Mean", "Resample", "Written", "Zero"]

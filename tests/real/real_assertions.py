"""Comparing a result with what was found by hand, prompt by prompt."""

from collections.abc import Sequence

import torch
from real_by_hand import Rows
from torch import Tensor

import dla

CLOSE = 2e-4
"""How far, in logits, two runs of the model in float32 may be apart: for each 8 rounding units of Σ|part|, which is at
most 110 logits for what is asked here. Which of the units are used up depends on the processor's kernels."""


def key(label: dla.Label) -> str:
    """How a row is called by hand: a source without its token, which is named where all prompts agree on it."""
    return f"L{label.layer}H{label.index} ← {label.source}" if label.kind == "source" else str(label)


def assert_rows(result: dla.Attribution, expected: Sequence[Rows], within: float = CLOSE) -> None:
    """Each prompt's rows are those found by hand: the same labels, and the same values at each of its positions.

    Args:
        result: Of a batch, at all positions.
        expected: One a prompt.
        within: In logits.
    """
    labels = [key(part) for part in result.parts]
    assert set(labels) >= set().union(*expected)
    assert len(set(labels)) == len(labels)
    for row, rows in enumerate(expected):
        length = len(next(iter(rows.values())))
        nothing = torch.zeros(length, dtype=torch.float64)  # a token of another prompt of the batch
        missing = {label for label in labels if label not in rows}
        assert all("←" in label for label in missing), missing
        wanted = torch.stack([rows.get(label, nothing) for label in labels])
        assert_near(result.values[:, row, :length], wanted, within, labels)
        assert result.values[:, row, length:].isnan().all()


def assert_near(actual: Tensor, wanted: Tensor, within: float, labels: Sequence[str] = ()) -> None:
    """The two differ by no more than rounding."""
    assert actual.shape == wanted.shape
    error = (actual.double() - wanted.double()).abs()
    worst = int(error.reshape(len(error), -1).amax(1).argmax()) if labels else 0
    assert float(error.max()) <= within, f"{labels[worst] if labels else 'a value'} is off by {float(error.max()):.1e}"

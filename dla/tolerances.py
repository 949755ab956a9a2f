"""How far two numbers that should be equal may differ, each bound with its reason.

A rounding unit is the `eps` of the dtype times the size of the numbers that cancel. Bounds on single hypotheses about a
model (is this output a norm of that input?) stand where the hypothesis is made, in `adapters/recognise`.
"""

import torch

TOLERANCE = 8.0
"""Rounding units by which the rows may miss the model's own logit: `gap / tolerance` is far below 1 on the catalogue's
architectures, and a bias left out is some thousands of units."""

COLUMN_TOLERANCE = 8.0
"""Rounding units by which columns of `W_U` may miss the model's own logits on a sample; as for sums of rows."""

CACHE_TOLERANCE = 4.0
"""Rounding units by which an embedding in a cache may differ from the one that the model gives now: it is one look-up
and at most one sum."""

RERUN_TOLERANCE = 64.0
"""Rounding units, of its typical entry, by which the final stream may differ between two runs that are the same:
kernels add up in another order when less or more is asked of them, and every block passes that on."""

EXPERT_ROUNDINGS = 4
"""Roundings of half precision between what a token's experts read and the sum of what they put out."""

MODULE_TOLERANCE = {torch.float64: 1e-5, torch.float32: 3e-5, torch.bfloat16: 0.04, torch.float16: 5e-3}
"""How far what a module of a bridge computes may be from Hugging Face's own, relative to the largest entry, by dtype.
In float64 too, since Hugging Face computes RMSNorm in float32."""

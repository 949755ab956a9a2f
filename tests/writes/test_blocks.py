"""Products with large weights: block by block they are what they are in one."""

import pytest
import torch

from dla.writes import blocks

ENTRIES = 64  # of a block, so that a small weight has several, and the last is not full


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("transposed", [False, True])
def test_blocks_give_the_whole_product(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, transposed: bool) -> None:
    monkeypatch.setattr(blocks, "_ENTRIES", ENTRIES)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(23, 13, generator=generator, dtype=torch.float64).to(dtype)
    weight = weight.T.contiguous().T if transposed else weight
    x = torch.randn(2, 5, 23, generator=generator, dtype=torch.float64).float()
    product, norms = blocks.product_and_norms(x, weight)
    assert product.dtype == norms.dtype == x.dtype
    torch.testing.assert_close(product, (x.double() @ weight.double()).float())
    torch.testing.assert_close(norms, weight.double().norm(dim=0).float())

"""What `dla.adapters.modules` gives an adapter for a plain PyTorch model."""

import pytest
import torch
from torch import Tensor, nn

from dla.adapters.modules import hook_points_of, norm_of, run_module
from dla.testing.models import randomise


class Small(nn.Module):
    """An embedding, a norm and an unembedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.unembed = nn.Embedding(9, 4), nn.LayerNorm(4), nn.Linear(4, 9)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.unembed(self.norm(self.embed(tokens)))
        return logits


@pytest.fixture
def model() -> Small:
    model = Small().eval()
    randomise(model, 0)
    return model


TOKENS = torch.tensor([[1, 2, 3], [4, 5, 6]])


def test_what_enters_and_leaves_a_module_is_shown(model: Small) -> None:
    seen: dict[str, Tensor] = {}
    names = ("embed.in", "embed.out", "norm.in", "unembed.out")
    logits = run_module(model, TOKENS, {name: lambda x, name=name: seen.update({name: x}) for name in names}, None)
    assert torch.equal(seen["embed.in"], TOKENS)
    assert torch.equal(seen["norm.in"], seen["embed.out"])
    assert torch.equal(seen["unembed.out"], logits)
    assert not logits.requires_grad


def test_only_the_positions_that_are_asked_for_come_back(model: Small) -> None:
    rows = torch.tensor([[2, 0], [1, 1]])
    everything = run_module(model, TOKENS, {}, None)
    some = run_module(model, TOKENS, {}, rows)
    assert torch.equal(some, torch.stack([everything[0, [2, 0]], everything[1, [1, 1]]]))


def test_nothing_is_left_on_the_model(model: Small) -> None:
    run_module(model, TOKENS, {name: lambda x: None for name in hook_points_of(model)}, None)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_name_that_does_not_exist_is_told(model: Small) -> None:
    with pytest.raises(ValueError, match=r"no hook 'embed.output'. Pass one of its hook names, such as 'embed.out'"):
        run_module(model, TOKENS, {"embed.output": lambda x: None}, None)


def test_training_mode_is_refused(model: Small) -> None:
    with pytest.raises(ValueError, match=r"in training mode, in which dropout makes every run different. Call eval"):
        run_module(model.train(), TOKENS, {}, None)


@pytest.mark.parametrize(
    "module",
    [
        nn.LayerNorm(6),
        nn.LayerNorm(6, eps=0.1, bias=False),
        nn.LayerNorm(6, elementwise_affine=False),
        nn.RMSNorm(6),
        nn.RMSNorm(6, eps=0.1, elementwise_affine=False),
    ],
    ids=str,
)
def test_a_norm_is_what_the_module_does(module: nn.LayerNorm | nn.RMSNorm) -> None:
    randomise(module, 1)
    x = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    norm = norm_of("blocks.0.norm", module)
    assert norm.scale.name == "blocks.0.norm.in"
    y = norm.push_forward(x[None], norm.scale.read(x))[0]
    torch.testing.assert_close(y if norm.bias is None else y + norm.bias, module(x).detach())

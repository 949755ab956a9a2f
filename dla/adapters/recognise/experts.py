"""A mixture of experts, recognised: its output is the weighted sum of experts, and of shared experts if it has some."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dla.adapters.module_inputs import is_stack_of_experts
from dla.adapters.recognise.match import Step, explained, like_stream, miss_of_step
from dla.adapters.recognise.offloaded import home_of
from dla.adapters.recognise.recording import Recording
from dla.labels import Label
from dla.writes import Computation, ExpertSum, ExpertWrites
from dla.writes.routes import Route
from dla.writes.sites import Site


def recognise_experts(
    path: str,
    module: nn.Module,
    recording: Recording,
    output: Float[Tensor, "batch pos d_model"],
    label: Label,
    route: Route,
) -> tuple[ExpertWrites, Step, Computation] | str | None:
    """The experts of the mixture at `path`, and the step by which they make its output, as a guess and as it was seen.

    Or in words why they are not known; None if the module is not a mixture of experts.

    Args:
        path: The mixture's, such as "blocks.0.mlp".
        module: The mixture.
        recording: What was seen.
        output: What it put out.
        label: The sublayer's.
        route: From its output to the stream.
    """
    names, call = _names(path, recording), _call_of(module)
    if names is None or call is None:
        return None
    shown = [like_stream(recording.hooks[name], output) for name in names]
    if any(value is None for value in shown):
        return None
    sites = [_site(name, recording, output) for name in names]
    experts = [Label("expert", label.layer, i, parent=label) for i in range(call.count)]
    plain = ExpertWrites(sites[0], sites[1], sites[2], call, False, None, None, experts)
    together, missed = Label("shared_experts", label.layer, parent=label), ""
    # No hook shows whether the router's weights are divided by their sum, and what the shared experts are.
    for normalised, (shared, gate) in itertools.product((False, True), _shared(path, recording, output)):
        parts = experts if shared is None else [*experts, together]
        guess = replace(plain, normalised=normalised, shared=shared, gate=gate, parts=parts)
        step = partial(ExpertSum, guess)
        activations, dtypes = recording.at(guess.reads), recording.dtypes(guess.reads)
        total = explained(step, activations, output, *dtypes)
        if total is not None:
            return replace(guess, route=route), step, total
        missed = missed or miss_of_step(step, activations, output, *dtypes)
    return f"the weighted sum of the experts of {path} {missed}"


def _names(path: str, recording: Recording) -> tuple[str, str, str] | None:
    """The hooks of the experts' input, of which were chosen, and of their weights; None if they are not known."""
    for names in (
        (f"{path}.experts.x", f"{path}.experts.index", f"{path}.experts.weight"),
        (f"{path}.experts.x", f"{path}.hook_expert_indices", f"{path}.hook_expert_weights"),
    ):
        if all(name in recording.hooks and name not in recording.repeated for name in names):
            return names
    return None


def _site(name: str, recording: Recording, output: Float[Tensor, "batch pos d_model"]) -> Site:
    return Site(name, flattened=recording.hooks[name].shape[:2] != output.shape[:2])


def _shared(
    path: str, recording: Recording, output: Float[Tensor, "batch pos d_model"]
) -> Iterator[tuple[Site | None, Site | None]]:
    """The shared experts that there may be, each with the gate that it may have; first none."""
    yield None, None
    names = [name for name in recording.hooks if name.startswith(f"{path}.shared") and name.endswith(".hook_out")]
    seen = {name: like_stream(recording.hooks[name], output) for name in names if name not in recording.repeated}
    gates = [name for name, value in seen.items() if value is not None and value.shape[-1] == 1]
    for name, value in seen.items():
        if value is not None and value.shape == output.shape:
            site = _site(name, recording, output)
            yield site, None
            yield from ((site, _site(gate, recording, output)) for gate in gates)


@final
@dataclass(frozen=True, eq=False)
class _Stack:
    """All experts of a layer in one module of Hugging Face, called with one expert per token."""

    module: nn.Module
    count: int

    def __call__(
        self, x: Float[Tensor, "token d_model"], index: Int[Tensor, "token 1"]
    ) -> Float[Tensor, "token d_model"]:
        weight, home = next(self.module.parameters()), home_of(self.module)
        x = x.to(home, weight.dtype)
        # `forward`, not the module itself: this may run inside a hook of the module's own call.
        output: Tensor = self.module.forward(x, index.to(home), torch.ones_like(index, dtype=x.dtype))
        return output


@final
@dataclass(frozen=True, eq=False)
class _List:
    """A list of expert modules."""

    modules: nn.ModuleList
    count: int

    def __call__(
        self, x: Float[Tensor, "token d_model"], index: Int[Tensor, "token 1"]
    ) -> Float[Tensor, "token d_model"]:
        x = x.to(home_of(self.modules), next(self.modules.parameters()).dtype)
        output = torch.zeros_like(x)
        for i in index.unique().tolist():
            chosen = (index == i).squeeze(-1).to(x.device)
            output[chosen] = self.modules[i](x[chosen])
        return output


def _call_of(module: nn.Module) -> _Stack | _List | None:
    stacked = next((inner for inner in module.modules() if is_stack_of_experts(inner)), None)
    if stacked is not None:
        return _Stack(stacked, len(stacked.get_parameter("down_proj")))
    experts = getattr(module, "experts", None)
    return _List(experts, len(experts)) if isinstance(experts, nn.ModuleList) else None

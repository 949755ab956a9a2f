"""`check_adapter`: is this model, or an adapter written for it, attributed right, and if not, what is wrong?"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from dla.adapters import adapt
from dla.adapters.base import ModelAdapter
from dla.errors import DLAError
from dla.testing.checks import (
    check_blocks,
    check_checkpoint,
    check_embeddings,
    check_readout,
    check_running,
    check_sites,
    check_sums,
)
from dla.testing.look import observe_run
from dla.testing.report import CheckResult, Report

Check = Callable[[], Iterator[CheckResult]]


def check_adapter(model: Any, tokens: Int[Tensor, "batch pos"] | None = None) -> Report:
    """Looks at a model step by step: does it run, what writes to its stream, do the parts add up?

    For a new architecture, or an adapter of your own. Each step compares what the adapter says with what the model
    does: embeddings and sublayers with the stream at the ends of each block, heads and neurons with their sublayer,
    the readout with the logits. Every parameter should be random: a bias of zero cannot show that it was forgotten.

    Args:
        model: A `HookedTransformer`, a `TransformerBridge`, or a `ModelAdapter`.
        tokens: Prompts of one length, all tokens real; a few that are made up if None.

    Returns:
        A report that prints itself; `ok`, `steps` and `first_failure()` say the same to a program.

    Example:
        >>> import dla.demo
        >>> from dla.testing import check_adapter
        >>> report = check_adapter(dla.demo.load_small("raw"))
        >>> report.ok, report.first_failure()
        (True, None)
    """
    with torch.no_grad():
        steps = tuple(_guarded("adapter", lambda: _steps(model, tokens)))
    return Report(f"check_adapter: {type(model).__name__}", steps)


def _steps(model: Any, tokens: Tensor | None) -> Iterator[CheckResult]:
    adapter = adapt(model)
    tokens = _some_tokens(adapter) if tokens is None else tokens
    anatomy = list(_guarded("anatomy", lambda: _anatomy(adapter)))  # first: it settles how the model must be run
    running = list(_guarded("runs", lambda: check_running(adapter, tokens)))
    yield from running
    if not all(step.ok for step in running):
        return
    yield from anatomy
    if not anatomy[-1].ok:
        return
    yield from _guarded("hooks", lambda: _look(adapter, model, tokens))


def _anatomy(adapter: ModelAdapter) -> Iterator[CheckResult]:
    anatomy = adapter.anatomy
    blocks, sublayers = len(anatomy.blocks), sum(len(block.sublayers) for block in anatomy.blocks)
    yield CheckResult("anatomy", True, f"{anatomy.name}: one stream, {blocks} blocks with {sublayers} sublayers")


def _look(adapter: ModelAdapter, model: Any, tokens: Tensor) -> Iterator[CheckResult]:
    look = observe_run(adapter, tokens)
    sites = list(check_sites(look))
    yield from sites
    if not all(step.ok for step in sites):
        return
    yield from _guarded("embeddings", lambda: check_embeddings(look))
    yield from _guarded("blocks", lambda: check_blocks(look))
    yield from _guarded("readout", lambda: check_readout(look))
    yield from check_checkpoint(look)
    yield from _guarded("sums", lambda: check_sums(look))


def _guarded(name: str, check: Check) -> Iterator[CheckResult]:
    """The steps of a check; if it raises, a step that says so."""
    try:
        yield from check()
    except Exception as error:  # an adapter under test may raise anything, and the report is about just that
        text = str(error) if isinstance(error, DLAError) else f"{type(error).__name__}: {error}"
        yield CheckResult(name, False, "", text)


def _some_tokens(adapter: ModelAdapter) -> Int[Tensor, "batch pos"]:
    """Two prompts of six tokens, made up."""
    size = adapter.vocabulary.input_size
    return torch.randint(min(4, size - 1), size, (2, 6), generator=torch.Generator().manual_seed(1))

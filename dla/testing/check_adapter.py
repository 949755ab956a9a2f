"""`check_adapter`: is this model, or an adapter written for it, attributed right, and if not, what is wrong?"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.adapters import adapt
from dla.adapters.base import ModelAdapter
from dla.testing.adapter_conduct import (
    check_cache,
    check_context,
    check_fingerprint,
    check_generation,
    check_lengths,
    check_looking,
    check_observers,
)
from dla.testing.adapter_declared import check_editing, check_reads
from dla.testing.adapter_numbers import check_precision, check_readout_numbers, check_vocabulary
from dla.testing.adapter_steps import (
    check_blocks,
    check_checkpoint,
    check_embeddings,
    check_readout,
    check_running,
    check_sites,
    check_sums,
    check_traces,
)
from dla.testing.observed_run import observe_run
from dla.testing.raised import guarded
from dla.testing.report import CheckResult, Report, timed


def check_adapter(model: Any, tokens: Int[Tensor, "batch pos"] | None = None) -> Report:
    """Looks at a model step by step: does it run, what writes to its stream, do the parts add up?

    For a new architecture, or an adapter of your own. Each step compares what the adapter says with what the model
    does: embeddings and sublayers with the stream at the ends of each block, heads and neurons with their sublayer,
    the readout with the logits. Every parameter should be random: a bias of zero cannot show that it was forgotten.

    Args:
        model: A `HookedTransformer`, a `TransformerBridge`, or a `ModelAdapter`.
        tokens: Prompts of one length, all tokens real; two prompts of six random tokens if None.

    Returns:
        A report that prints itself; `ok`, `steps` and `first_failure()` say the same to a program.

    Examples:
        >>> import dla.demo
        >>> from dla.testing import check_adapter
        >>> report = check_adapter(dla.demo.load_small("raw"))
        >>> report.ok, report.first_failure()
        (True, None)
    """
    steps = tuple(timed(guarded("adapter", lambda: _steps(model, tokens))))
    return Report(f"check_adapter: {type(model).__name__}", steps)


def _steps(model: Any, tokens: Int[Tensor, "batch pos"] | None) -> Iterator[CheckResult]:
    adapter = adapt(model)
    tokens = _random_tokens(adapter) if tokens is None else tokens
    before = _said(adapter, tokens)
    # The anatomy comes first, since looking at a model decides how it is run; it is reported after `runs`.
    anatomy = list(guarded("anatomy", lambda: _anatomy(adapter)))
    running = list(guarded("runs", lambda: check_running(adapter, tokens)))
    yield from running
    if not all(step.ok for step in running):
        return
    yield from anatomy
    if anatomy[-1].ok:
        yield from guarded("hands off", lambda: check_looking(adapter, tokens, before))
        yield from guarded("observers", lambda: check_observers(adapter, tokens))
        yield from guarded("hooks", lambda: _of_one_run(adapter, tokens))


def _said(adapter: ModelAdapter, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_vocab"] | None:
    """What the model says before it is looked at; None where it does not run yet, which is no mistake."""
    try:
        return adapter.run(tokens.clone(), {}, None)
    except Exception:  # if it does not run later either, the step `runs` says so
        return None


def _anatomy(adapter: ModelAdapter) -> Iterator[CheckResult]:
    anatomy = adapter.anatomy
    blocks, sublayers = len(anatomy.blocks), sum(len(block.sublayers) for block in anatomy.blocks)
    problem = "" if str(anatomy.name).strip() else "It has no name: no table and no file could say of what it is."
    yield CheckResult("anatomy", f"{anatomy.name}: one stream, {blocks} blocks with {sublayers} sublayers", problem)


def _of_one_run(adapter: ModelAdapter, tokens: Int[Tensor, "batch pos"]) -> Iterator[CheckResult]:
    run = observe_run(adapter, tokens)
    sites = list(check_sites(run))
    yield from sites
    if not all(step.ok for step in sites):
        return
    yield from guarded("embeddings", lambda: check_embeddings(run))
    yield from guarded("blocks", lambda: check_blocks(run))
    yield from guarded("readout", lambda: check_readout(run))
    yield from guarded("readout", lambda: check_readout_numbers(run))
    yield from guarded("reads", lambda: check_reads(run))
    yield from guarded("editing", lambda: check_editing(run))
    yield from guarded("precision", lambda: check_precision(run))
    yield from guarded("vocabulary", lambda: check_vocabulary(run))
    yield from check_checkpoint(run)
    yield from guarded("unequal lengths", lambda: check_lengths(run))
    yield from guarded("context", lambda: check_context(run))
    yield from guarded("cache", lambda: check_cache(run))
    yield from guarded("generate", lambda: check_generation(run))
    yield from guarded("fingerprint", lambda: check_fingerprint(run))
    yield from guarded("sums", lambda: check_sums(run))
    yield from guarded("traces", lambda: check_traces(run))


def _random_tokens(adapter: ModelAdapter) -> Int[Tensor, "batch pos"]:
    size = adapter.vocabulary.input_size
    return torch.randint(min(4, size - 1), size, (2, 6), generator=torch.Generator().manual_seed(1))

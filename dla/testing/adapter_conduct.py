"""What `run` of an adapter promises, and what looking at a model must not change."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

import dla
from dla.adapters.base import ModelAdapter
from dla.adapters.turns import turn_on
from dla.errors import UnsupportedModelError
from dla.testing.differences import apart, slack_of
from dla.testing.laws.invariance import filled_up
from dla.testing.observed_run import ObservedRun
from dla.testing.report import CheckResult

_WRITTEN = 3
"""How many tokens the model writes."""

_LONGEST = 512
"""How many tokens are tried of a model that reads more."""


@final
class _Stop(Exception):
    """An observer that has seen enough."""


def check_looking(
    adapter: ModelAdapter, tokens: Int[Tensor, "batch pos"], before: Float[Tensor, "batch pos d_vocab"] | None
) -> Iterator[CheckResult]:
    """Neither looking at the model nor running it changes what it says, nor the ids that it is given.

    Args:
        adapter: What is checked; its anatomy has been looked at.
        tokens: The prompts.
        before: What it said before that; None where it did not run.
    """
    given, anatomy = tokens.clone(), adapter.anatomy
    first, second = adapter.run(given, {}, None), adapter.run(given, {}, None)
    problem = ""
    if not torch.equal(given, tokens):
        problem = "`run` changed the ids that it was given. Make new ones."
    elif not torch.equal(first, second):
        problem = f"Run twice on the same ids, it gives logits that differ by {apart(first, second):.1e}."
    elif before is not None and apart(before, first) > slack_of(first):
        problem = (
            f"Looking at it changed its logits by {apart(before, first):.1e}: `anatomy` must leave the weights as "
            "they are, and compute new tensors."
        )
    elif not adapter.is_current(anatomy):
        problem = "`is_current` says that the weights are others than when its anatomy was found; nothing changed them."
    found = "the same logits before and after it was looked at" if before is not None else "the same logits each time"
    yield CheckResult("hands off", found, problem)


def check_observers(adapter: ModelAdapter, tokens: Int[Tensor, "batch pos"]) -> Iterator[CheckResult]:
    """Observers see one run, and are gone after it, whatever they do; none of it records gradients."""
    name = adapter.anatomy.blocks[-1].resid_post.site.name
    seen: list[Tensor] = []
    with torch.enable_grad():
        logits = adapter.run(tokens, {name: seen.append}, None)
    shown = len(seen)
    plain = adapter.run(tokens, {}, None)
    adapter.run(tokens, {name: seen.append}, torch.zeros(tokens.shape[0], 1, dtype=torch.long))
    turned = list[Tensor]()
    back = adapter.run(tokens.flip(0), {name: turned.append}, None).flip(0)
    problem = ""
    if logits.requires_grad or any(tensor.requires_grad for tensor in seen):
        problem = "`run` records gradients. Put the forward pass under torch.no_grad()."
    elif shown == 1 and len(seen) != 2:
        problem = f"An observer of {name!r} is still called in later runs. Take the hooks off when the run ends."
    elif apart(logits, plain) > slack_of(plain):
        problem = f"With an observer the logits are others, by {apart(logits, plain):.1e}. Observers only look."
    elif shown == 1 and (seen[0].shape != seen[1].shape or apart(seen[0], seen[1]) > slack_of(seen[0])):
        problem = f"{name!r} shows other numbers when few positions are unembedded; it must show all positions."
    elif apart(back, plain) > slack_of(plain) or apart(_in_order(turned, tokens), seen[0]) > slack_of(seen[0]):
        problem = f"With the prompts in another order, they have other logits, or {name!r} shows others' numbers."
    elif _is_left(adapter, tokens, name):
        problem = f"An observer of {name!r} that raised an error is still called. Take hooks off in `finally`."
    yield CheckResult("observers", "no gradients are recorded, and no observer stays", problem)


def _in_order(turned: list[Tensor], tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "..."]:
    """What was seen of the prompts in the opposite order; a model may show them all on one axis."""
    back: Tensor = turned[0].unflatten(0, (len(tokens), -1)).flip(0).flatten(0, 1)
    return back


def _is_left(adapter: ModelAdapter, tokens: Int[Tensor, "batch pos"], name: str) -> bool:
    def stop(_: Tensor) -> None:
        raise _Stop

    with contextlib.suppress(_Stop):
        adapter.run(tokens, {name: stop}, None)
    try:
        adapter.run(tokens, {}, None)
    except _Stop:
        return True
    return False


def check_lengths(run: ObservedRun) -> Iterator[CheckResult]:
    """Prompts of unequal lengths: the last position of each is its own."""
    adapter, tokens = run.adapter, run.tokens
    both = [tokens[0], tokens[-1][: max(1, tokens.shape[1] - 2)]]
    missed, allowed = 0.0, slack_of(run.logits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attributor = dla.Attributor(adapter, dla.ComponentDecomposer(), check="warn")
        for rows, pos in ((both, -1), (both[::-1], 0)):  # a batch may be put in order by length, and not back
            padded, mask = filled_up(rows)
            together = attributor.attribute(padded, dla.Logit(0), pos=pos, attention_mask=mask)
            alone = torch.cat([attributor.attribute(row[None], dla.Logit(0), pos=pos).logit for row in rows])
            missed = max(missed, apart(together.logit, alone))
            allowed = max(allowed, slack_of(run.logits) + float(together.tolerance.max()))
    problem = f"The logits miss those of each prompt alone by {missed:.1e}." if missed > allowed else ""
    yield CheckResult("unequal lengths", f"prompts of {[len(row) for row in both]} tokens, each as if alone", problem)


def check_context(run: ObservedRun) -> Iterator[CheckResult]:
    """The model runs on a prompt as long as it is said to read."""
    adapter, tokens, context = run.adapter, run.tokens, run.adapter.context
    if context is None:
        yield CheckResult("context", "not declared, so prompts may have any length")
        return
    width = min(context, _LONGEST)
    long = tokens[:1].repeat(1, -(-width // tokens.shape[1]))[:, :width]
    finite = bool(adapter.run(long, {}, torch.tensor([[width - 1]])).isfinite().all())
    yield CheckResult("context", f"up to {context} tokens; {width} run", "" if finite else "The logits are not finite.")


def check_generation(run: ObservedRun) -> Iterator[CheckResult]:
    """What the model writes begins, without drawing, with its own first answer, and the prompt is not in front."""
    adapter, prompt = run.adapter, run.tokens[0].tolist()
    options = {"do_sample": False, "temperature": 1.0, "top_k": None, "top_p": None, "stop_at_eos": False}
    try:
        with turn_on(adapter.source):
            written = adapter.generate(prompt, _WRITTEN, options)
    except UnsupportedModelError as error:
        yield CheckResult("generate", f"not offered: {error}")
        return
    except Exception as error:
        if adapter.source is adapter:
            raise
        yield CheckResult("generate", f"the model's own fails: {type(error).__name__}: {error}")
        return
    if len(written) != _WRITTEN:
        problem = f"Asked for {_WRITTEN} tokens, it gave {written!r}. Give what the model writes, without the prompt."
        yield CheckResult("generate", problem=problem)
        return
    # Only the first: with what a model keeps of a prompt, it may go on otherwise than in one pass.
    said = adapter.run(run.tokens[:1], {}, None)[0, -1]
    missed = float(said.max() - said[written[0]])
    problem = f"Token {written[0]} has a logit {missed:.1e} below the largest." if missed > slack_of(said) else ""
    yield CheckResult("generate", f"begins with its own first answer, {written[0]}", problem)


def check_fingerprint(run: ObservedRun) -> Iterator[CheckResult]:
    """Two checkpoints differ in what a fingerprint covers."""
    tensors = run.adapter.tensors()
    problem = "" if tensors else "`tensors` gives none, so every checkpoint would have the same fingerprint."
    yield CheckResult("fingerprint", f"of {len(tensors)} tensors", problem)


def check_cache(run: ObservedRun) -> Iterator[CheckResult]:
    """What a run showed may stand in for it, with the prompts and without them."""
    adapter, decomposer = run.adapter, dla.ComponentDecomposer()
    problem = ""
    if not adapter.owns({}):
        problem = "`owns` refuses a cache that names no model. It is False only for one that names another."
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            attributor = dla.Attributor(adapter, decomposer, check="warn")
            plain = attributor.attribute(run.tokens, dla.Logit(0), pos=None)
            for prompts in (run.tokens, None):
                cached = attributor.attribute(prompts, dla.Logit(0), pos=None, cache=dict(run.raw))
                if apart(cached.values, plain.values) > float(plain.tolerance.max()):
                    whose = "with" if prompts is not None else "without"
                    problem = f"From a cache, {whose} the prompts, the rows are others than those of a run."
    yield CheckResult("cache", "the rows of a run, with the prompts and without them", problem)

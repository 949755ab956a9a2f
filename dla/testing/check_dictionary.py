"""`check_dictionary`: are the features of an autoencoder or transcoder what its `decode` uses, wherever they occur?"""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dla.testing.differences import apart, difference, largest
from dla.testing.laws.memory import copied_or_none
from dla.testing.raised import guarded
from dla.testing.report import CheckResult, Report, timed
from dla.writes.dictionaries import Dictionary, read_dictionary
from dla.writes.dictionaries.reading import random_inputs, takes_indices

_ROUNDINGS = 1e4
"""How many rounding units, of the largest entry, a reconstruction may be off by."""

_Input = Float[Tensor, "batch pos *d_in"]


def check_dictionary(source: Any, at: str | tuple[str, str] | None = "what it explains") -> Report:
    """Tries what a dictionary must keep: its features belong to one position, and `decode` uses them as `W_dec` says.

    Args:
        source: What is checked, as `FeatureDecomposer` takes it.
        at: The hook name of what it explains; for a transcoder `(reads, writes)`; None to take it from the object.

    Returns:
        A report that prints itself; `raise_for_failure()` makes a failing test of it.
    """
    steps = tuple(timed(guarded("reads", lambda: _steps(source, at))))
    return Report(f"check_dictionary: {type(source).__name__}", steps)


def _steps(source: Any, at: str | tuple[str, str] | None) -> Iterator[CheckResult]:
    unused = copied_or_none(source)
    dictionary = read_dictionary(source, at)
    places = " and ".join(dict.fromkeys((dictionary.reads, dictionary.writes)))
    yield CheckResult("reads", f"{len(dictionary.W_dec)} features of {places}, each position on its own")
    inputs = list(random_inputs(source, dictionary.reads == dictionary.writes, dictionary.by_head))
    if not inputs:
        yield CheckResult("inputs", "it does not say how wide what it reads is, so nothing else could be tried")
        return
    inputs.append(torch.zeros_like(inputs[0]))
    explained = [dictionary.explain(x) for x in inputs]
    numbers = [tensor for pair in explained for tensor in pair]
    wrong = not all(map(_finite, numbers))
    told = "Features are infinite or NaN" + (" for an activation of zeros." if all(map(_finite, numbers[:-2])) else ".")
    yield CheckResult("finite", "also for activations of zeros", told if wrong else "")
    if unused is not None:
        again = [replace(dictionary, source=copy.deepcopy(unused)).explain(x)[0] for x in inputs]
        late = [dictionary.explain(x)[0] for x in inputs]
        off = max(apart(one, other) for one, other in zip(again, late, strict=True))
        problem = (
            "" if wrong or off == 0 else f"Used before, its features are off by {off:.1e} from those of an unused."
        )
        yield CheckResult("memory", "nothing of an earlier call is kept", problem)
    if not wrong and not _undecoded(source):
        problem = next((told for x in inputs if (told := _of_decoding(dictionary, x))), "")
        yield CheckResult("decode", "features @ W_dec, and the offset", problem)


def _undecoded(source: Any) -> bool:
    """Whether there is no `decode` that takes all features."""
    return not hasattr(source, "decode") or takes_indices(source)


def _finite(tensor: Float[Tensor, "..."]) -> bool:
    return bool(tensor.isfinite().all())


def _of_decoding(dictionary: Dictionary, x: _Input) -> str:
    """`decode(encode(x))` is what the rows are: each feature times its row of `W_dec`, and the offset."""
    features, offset = dictionary.explain(x)
    wanted = dictionary.source.decode(dictionary.source.encode(x.clone())).reshape(*x.shape[:2], -1)
    found = features @ dictionary.W_dec.to(features) + offset
    slack = _ROUNDINGS * torch.finfo(dictionary.W_dec.dtype).eps
    told = difference(found.double(), wanted.double(), largest(found, wanted), slack)
    return f"`decode` must be features @ W_dec and the offset, for features of any size. {told}" if told else ""

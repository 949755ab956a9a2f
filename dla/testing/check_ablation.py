"""`check_ablation`: does an ablation give what can stand in the place of any part, from what it is given alone?"""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dla.edits import Ablation, Written
from dla.inputs.arguments import instance
from dla.testing.laws.memory import copied_or_none
from dla.testing.raised import guarded
from dla.testing.report import CheckResult, Report, first_of_each, timed

_Both = tuple[Written, Written | None]

_WIDTHS = (1, 8, 32)  # of a neuron or a source, of a head, of a vector of the stream


def check_ablation(ablation: Ablation, *, width: int | None = None) -> Report:
    """Tries what an ablation must keep: what it gives fits, is the same each time, and does not read padding.

    Args:
        ablation: What is checked.
        width: How wide the part is that it is made for; several widths are tried if None.

    Raises:
        TypeError: If it is no ablation.

    Returns:
        A report that prints itself; `raise_for_failure()` makes a failing test of it.

    Examples:
        >>> import dla
        >>> from dla.testing import check_ablation
        >>> check_ablation(dla.Zero()).ok
        True
    """
    instance(ablation, Ablation, "The ablation", "an instance, such as dla.Zero()")
    found = (
        (f"Of width {wide}", step)
        for wide in (_WIDTHS if width is None else (width,))
        for step in timed(guarded("fits", partial(_steps, ablation, wide)))
    )
    return Report(f"check_ablation: {type(ablation).__name__}", first_of_each(found))


def _steps(ablation: Ablation, width: int) -> Iterator[CheckResult]:
    unused = copied_or_none(ablation)
    given = {name: _given(ablation, written) for name, written in _situations(width).items()}
    found: dict[str, Any] = {name: ablation.replace(*_copies(both)) for name, both in given.items()}
    problem = next((f"{name}: {told}" for name in found if (told := _misfit(found[name], given[name][0]))), "")
    yield CheckResult("fits", "finite numbers of the part's width", problem)
    if problem:
        return
    own, other = given[_USUAL]
    usual, mine, others = found[_USUAL], *_copies((own, other))
    again = ablation.replace(mine, others)
    problem = "" if torch.equal(usual, again) else "given the same twice, it gives something else."
    yield CheckResult("repeatable", "the same from the same", problem)
    kept = _same(mine, own) and (others is None or other is None or _same(others, other))
    problem = "" if kept else "it changes the numbers that it is given, which are the model's. Compute new ones."
    yield CheckResult("hands off", "what it is given stays as it is", problem)
    if unused is not None:
        fresh = {name: copy.deepcopy(unused).replace(*_copies(both)) for name, both in given.items()}
        kept = all(torch.equal(fresh[name], ablation.replace(*_copies(both))) for name, both in given.items())
        problem = "" if kept else "used on other numbers before, it gives something else than an unused one."
        yield CheckResult("memory", "nothing of an earlier run is kept", problem)
    filled = ablation.replace(_filled(own), None if other is None else _filled(other))
    there = [numbers.expand_as(own.values)[own.real] for numbers in (usual, filled)]
    problem = "" if torch.equal(*there) else "what it gives at a token depends on what stands in the padding."
    yield CheckResult("padding", "what stands in the padding is not read", problem)


_USUAL = "Of two prompts"


def _situations(width: int) -> dict[str, Written]:
    """What a part may write: on two prompts the second of which is padded, on one of one token, and nothing at all."""
    generator = torch.Generator().manual_seed(0)
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    return {
        _USUAL: Written(torch.randn(2, 5, width, generator=generator), real),
        "Of one prompt of one token": Written(torch.randn(1, 1, width, generator=generator), real[:1, :1]),
        "Of a part that writes zero": Written(torch.zeros(2, 5, width), real),
    }


def _given(ablation: Ablation, own: Written) -> _Both:
    """That, and what the part writes on other prompts, where the ablation asks for those."""
    other = torch.randn(own.values.shape, generator=torch.Generator().manual_seed(1))
    return own, None if ablation.prompts is None else Written(other, own.real)


def _copies(both: _Both) -> _Both:
    own, other = both
    return _copy(own), None if other is None else _copy(other)


def _same(left: Written, right: Written) -> bool:
    return torch.equal(left.values, right.values) and torch.equal(left.real, right.real)


def _copy(written: Written) -> Written:
    return Written(written.values.clone(), written.real.clone())


def _filled(written: Written) -> Written:
    """The same with something else in the padding."""
    return Written(torch.where(written.real.unsqueeze(-1), written.values, 1000.0), written.real.clone())


def _misfit(given: object, own: Written) -> str:
    wanted = list(own.values.shape)
    if not isinstance(given, Tensor):
        return f"it gives a {type(given).__name__}, and not a tensor."
    fits = given.ndim == 3 and all(a in (1, b) for a, b in zip(given.shape[:2], wanted, strict=False))
    if not fits or given.shape[-1] != wanted[-1]:
        return f"it gives {list(given.shape)} for {wanted}: one vector for all prompts and positions, or one for each."
    return "" if bool(given.isfinite().all()) else "it gives numbers that are not finite."

"""`check_direction` on prompts as users have them: padded, with a token that stands there several times."""

from typing import Any

import torch
from torch import Tensor

import dla
from dla.directions import ResolvedDirection
from dla.testing import check_direction


class MostFrequent(dla.Direction):
    """The logit of the prompt's most frequent token, counted over the padding too."""

    def __init__(self, least: int) -> None:
        self.least = least

    def resolve(self, prompts: Any, positions: Any) -> ResolvedDirection:
        rows = prompts.tokens.tolist()
        best = [max(dict.fromkeys(row), key=row.count) for row in rows]
        ids = [token if row.count(token) >= self.least else row[0] for token, row in zip(best, rows, strict=True)]
        return ResolvedDirection(torch.tensor(ids)[:, None, None], torch.ones(1))

    def describe(self) -> str:
        return f"logit of a token that is there {self.least} times"


class FollowsTheFirst(dla.Direction):
    """The logit of what followed an earlier occurrence of the token, or of the token itself."""

    def resolve(self, prompts: Any, positions: Any) -> ResolvedDirection:
        places = zip(prompts.tokens.tolist(), positions.index.tolist(), strict=True)
        ids = [[self.follower(row, place) for place in of_row] for row, of_row in places]
        return ResolvedDirection(torch.tensor(ids)[..., None], torch.ones(1))

    def follower(self, row: list[int], place: int) -> int:
        return row[row.index(row[place]) + 1] if row.index(row[place]) < place else row[place]

    def describe(self) -> str:
        return "logit of what followed the first occurrence"


def test_a_direction_that_cannot_be_asked_at_the_last_position_passes() -> None:
    report = check_direction(dla.NextToken())
    assert report.ok, str(report)


def test_a_direction_that_counts_padding_is_found() -> None:
    failure = check_direction(MostFrequent(least=4)).first_failure()
    assert failure is not None
    assert failure.name == "batch"
    assert "should ask what it asks alone" in failure.problem


def test_prompts_hold_a_token_three_times() -> None:
    """Where it would be the latest occurrence, `means` says so."""

    def latest(logits: Tensor) -> Tensor:
        rows = [[9, 20, 9, 31, 9, 12], [45, 7, 16, 28, 16, 45]]
        ids = [[_after_the_latest(row, place) for place in range(len(row))] for row in rows]
        return logits.gather(-1, torch.tensor(ids)[..., None])[..., 0]

    failure = check_direction(FollowsTheFirst(), latest).first_failure()
    assert failure is not None
    assert (failure.name, "at [0, 4]" in failure.problem) == ("meaning", True)


def _after_the_latest(row: list[int], place: int) -> int:
    before = [i for i in range(place) if row[i] == row[place]]
    return row[before[-1] + 1] if before else row[place]

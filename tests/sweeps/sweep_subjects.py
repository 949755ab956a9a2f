"""What the tests of sweeps run on, and how two folders are compared."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from torch import Tensor

import dla
import dla.demo
from dla.demo.grammar import prompts
from dla.inputs.vocabulary import Vocabulary


def rows(count: int) -> list[dict[str, Any]]:
    """Rows of a corpus that the demo model knows the words of."""
    return [
        {"prompt": p.text, "answer": p.answer, "incorrect": p.incorrect, "template": p.template, "order": p.order}
        for p in prompts(count)
    ]


def frame(count: int) -> pd.DataFrame:
    return pd.DataFrame(rows(count))


def write_lines(path: Path, lines: Sequence[Mapping[str, Any] | str | bytes]) -> Path:
    """JSON lines; a text or bytes are written as they are."""
    with path.open("wb") as file:
        for line in lines:
            text = line if isinstance(line, str | bytes) else json.dumps(line, ensure_ascii=False)
            file.write((text.encode() if isinstance(text, str) else text) + b"\n")
    return path


def attributor(decomposer: dla.Decomposer | None = None, **options: Any) -> dla.Attributor:
    return dla.Attributor(dla.demo.load("raw"), decomposer or dla.HeadDecomposer(), **options)


def assert_same(first: dla.SweepFolder, second: dla.SweepFolder) -> None:
    """The same shards, with the same numbers in them to the last bit, and the same rejected rows."""
    pairs = list(zip(first.shards(), second.shards(), strict=True))
    assert pairs
    assert first.labels == second.labels
    for a, b in pairs:
        assert a.number == b.number
        pd.testing.assert_frame_equal(a.prompts, b.prompts, check_exact=True)
        np.testing.assert_array_equal(a.values, b.values)
    pd.testing.assert_frame_equal(first.rejected(), second.rejected())


def assert_every_row_once(folder: dla.SweepFolder, count: int) -> None:
    done = [row for shard in folder.shards() for row in shard.prompts["row"].tolist()]
    assert sorted(done + folder.rejected()["row"].tolist()) == list(range(count))


def unfinished(folder: Path) -> list[str]:
    return [file.name for file in folder.rglob(".*") if file.name not in (".lock", ".owner")]


@final
class Altered(dla.ModelAdapter):
    """The demo model, run as a test says."""

    def __init__(self, run: Any) -> None:
        """`run(model, tokens, observe, rows)` stands for the model's own."""
        self._model, self._run = dla.adapt(dla.demo.load("raw")), run
        self.words: Vocabulary | None = None

    @property
    def anatomy(self) -> Any:
        return self._model.anatomy

    @property
    def vocabulary(self) -> Vocabulary:
        return self._model.vocabulary if self.words is None else self.words

    def run(self, tokens: Tensor, observe: Any, rows: Any) -> Tensor:
        logits: Tensor = self._run(self._model, tokens, observe, rows)
        return logits

    def owns(self, cache: Any) -> bool:
        return False

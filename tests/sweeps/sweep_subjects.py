"""What the tests of sweeps run on, and how two folders are compared."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
import pytest
from torch import Tensor

import dla
import dla.demo
from dla.demo.grammar import giving_prompts
from dla.inputs.vocabulary import Vocabulary


def rows(count: int) -> list[dict[str, Any]]:
    """Rows of a corpus that the demo model knows the words of."""
    return [
        {"prompt": p.text, "answer": p.answer, "incorrect": p.incorrect, "template": p.template, "order": p.order}
        for p in giving_prompts(count)
    ]


def frame(count: int, **wrong: Mapping[int, Any]) -> pd.DataFrame:
    """The same rows; `answer={2: "a b"}` puts another answer into row 2."""
    made = pd.DataFrame(rows(count))
    for column, values in wrong.items():
        made = made.astype({column: object})
        made.loc[[*values], column] = [*values.values()]
    return made


def write_lines(path: Path, lines: Sequence[Mapping[str, Any] | str | bytes]) -> Path:
    """JSON lines; a text or bytes are written as they are."""
    with path.open("wb") as file:
        for line in lines:
            text = line if isinstance(line, str | bytes) else json.dumps(line, ensure_ascii=False)
            file.write((text.encode() if isinstance(text, str) else text) + b"\n")
    return path


def as_lines(corpus: pd.DataFrame, folder: Path) -> Path:
    return write_lines(folder / "c.jsonl", [row.dropna().to_dict() for _, row in corpus.iterrows()])


def as_csv(corpus: pd.DataFrame, folder: Path) -> str:
    corpus.to_csv(folder / "c.csv", index=False)
    return str(folder / "c.csv")


def as_parquet(corpus: pd.DataFrame, folder: Path) -> Path:
    corpus.to_parquet(folder / "c.parquet", row_group_size=7)
    return folder / "c.parquet"


def as_dataset(corpus: pd.DataFrame, folder: Path) -> Any:
    import datasets

    return datasets.Dataset.from_pandas(corpus, preserve_index=False)


def attributor(decomposer: dla.Decomposer | None = None, **options: Any) -> dla.Attributor:
    return dla.Attributor(dla.demo.load_small("raw"), decomposer or dla.HeadDecomposer(), **options)


def by_heads(model: Any) -> dla.Attributor:
    return dla.Attributor(model, dla.HeadDecomposer())


def prompts_of(folder: dla.SweepFolder) -> Iterator[tuple[pd.Series, np.ndarray]]:
    """Each prompt of a sweep, with its values."""
    for shard in folder.shards():
        for (_, row), values in zip(shard.prompts.iterrows(), shard.values, strict=True):
            yield row, values


def assert_as_alone(folder: dla.SweepFolder, by: dla.Attributor, corpus: pd.DataFrame) -> None:
    """Each prompt's numbers are those that `attribute` gives for it alone; every row is there or rejected."""
    seen = []
    for row, values in prompts_of(folder):
        asked = corpus.loc[row["row"]]
        seen.append(row["row"])
        answer, incorrect = asked["answer"], asked.get("incorrect")
        direction = dla.Logit(answer) if pd.isna(incorrect) else dla.LogitDifference(answer, incorrect)
        pos = -1 if pd.isna(asked.get("position")) else int(asked["position"])
        alone = by.attribute(asked["prompt"], direction, pos=pos)
        allowed = float(alone.tolerance)
        assert folder.labels == alone.labels
        np.testing.assert_allclose(values, alone.values[:, 0].numpy(), rtol=0, atol=allowed)
        for name in ("total", "constant", "logit", "output_logit"):
            assert row[name] == pytest.approx(float(getattr(alone, name)), rel=0, abs=allowed)
        assert abs(row["gap"]) <= row["tolerance"]
        assert row["gap"] == pytest.approx(row["logit"] - row["total"] - row["constant"], abs=allowed)
        assert (row["tokens"], row["at"]) == (len(alone.tokens[0]), int(alone.positions))
    assert sorted(seen + folder.rejected()["row"].tolist()) == list(range(len(corpus)))


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


def assert_near(first: dla.SweepFolder, second: dla.SweepFolder, leaving_out: Sequence[int] = ()) -> None:
    """The same rows up to rounding, wherever their shards end; some rows of the second may be missing in the first."""
    a, b = first.to_dataframe(), second.to_dataframe()
    b = b[~b["row"].isin(leaving_out)].reset_index(drop=True)
    assert a[["row", "part"]].equals(b[["row", "part"]])
    allowed = max(shard.prompts["tolerance"].max() for shard in second.shards())
    np.testing.assert_allclose(a["value"], b["value"], rtol=0, atol=allowed)


def assert_every_row_once(folder: dla.SweepFolder, count: int) -> None:
    done = [row for shard in folder.shards() for row in shard.prompts["row"].tolist()]
    assert sorted(done + folder.rejected()["row"].tolist()) == list(range(count))


def unfinished(folder: Path) -> list[str]:
    return [file.name for file in folder.rglob(".*") if file.name != ".lock"]


@final
class Interrupted(dla.Engine):
    """The local engine, to which something happens: after some shards, or at the end."""

    def __init__(self, happens: Callable[[Path], object], after: int | None = None) -> None:
        self._happens, self._after = happens, after

    def results(self, job: Any) -> Iterator[Any]:
        for i, result in enumerate(dla.LocalEngine().results(job), 1):
            yield result
            if i == self._after:
                self._happens(job.folder)
        if self._after is None:
            self._happens(job.folder)


def stop(_: Path) -> None:
    raise OSError("stopped")


@final
class Altered(dla.ModelAdapter):
    """The demo model, run as a test says."""

    def __init__(self, run: Callable[..., Tensor] | None = None) -> None:
        """`run(model, tokens, observe, rows)` stands for the model's own."""
        self._model, self._run = dla.adapt(dla.demo.load_small("raw")), run
        self.words: Vocabulary | None = None

    @property
    def anatomy(self) -> Any:
        return self._model.anatomy

    @property
    def vocabulary(self) -> Vocabulary:
        return self._model.vocabulary if self.words is None else self.words

    def run(self, tokens: Tensor, observe: Any, rows: Any) -> Tensor:
        if self._run is None:
            return self._model.run(tokens, observe, rows)
        return self._run(self._model, tokens, observe, rows)

    def owns(self, cache: Any) -> bool:
        return False

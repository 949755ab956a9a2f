"""Who told a head where to look: an attention score as a sum over pairs of parts, at the query and at the key."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dla.inputs.given import Count, count
from dla.labels import Label
from dla.provenance import Provenance
from dla.results.label_index import place_of_direction
from dla.results.tables import TablePerDirection
from dla.views.brief import mean_of
from dla.views.dataset import dataset_of
from dla.views.grid import Grid, Line, signed
from dla.views.plots.part_map import part_map

if TYPE_CHECKING:
    import pandas
    import xarray

_AT_A_TIME = 512  # rows of a table of pairs that are ranked together
_DRAWN = 20  # parts on each side of a map


@final
@dataclass(frozen=True, eq=False)
class AttentionScore(TablePerDirection):
    """A head's attention score between two positions, before the softmax, in pairs of parts; one for each prompt.

    The query is a sum over what was written before at the position that looks, the key one at the position that is
    looked at, and the score is their product: each pair of parts has its share. The scales of norms are those of the
    run.

    Attributes:
        query_parts: What the query is a sum of: the parts, then biases (`b_Q`, `ln1_b`).
        key_parts: What the key is a sum of.
        queries: What each part adds to the query, times the scale of the scores.
        keys: What each part adds to the key.
        constant: What position alone adds (ALiBi); 0 in most models.
        score: The score as the model's own hook shows it; with a soft cap, before the cap.
        tolerance: How large a gap the model's own rounding can make.
        query: The position that looks, in each prompt.
        key: The position that it looks at.
        provenance: What was asked of which model.
    """

    query_parts: tuple[Label, ...]
    key_parts: tuple[Label, ...]
    queries: Float[Tensor, "query_part batch d_head"]
    keys: Float[Tensor, "key_part batch d_head"]
    constant: Float[Tensor, " batch"]
    score: Float[Tensor, " batch"]
    tolerance: Float[Tensor, " batch"]
    query: Int[Tensor, " batch"]
    key: Int[Tensor, " batch"]
    provenance: Provenance = field(repr=False)

    @property
    def values(self) -> Float[Tensor, "query_part key_part batch"]:
        """What each pair adds to the score; of many thousands of parts, `by_query` and `by_key` need less memory."""
        return torch.einsum("qbd,kbd->qkb", self.queries, self.keys)

    @property
    def by_query(self) -> Float[Tensor, "query_part batch"]:
        """What each part at the query adds, with all of the key."""
        return torch.einsum("qbd,bd->qb", self.queries, _sum(self.keys))

    @property
    def by_key(self) -> Float[Tensor, "key_part batch"]:
        """What each part at the key adds, with all of the query."""
        return torch.einsum("kbd,bd->kb", self.keys, _sum(self.queries))

    @property
    def total(self) -> Float[Tensor, " batch"]:
        """The sum over all pairs."""
        return (_sum(self.queries).double() * _sum(self.keys).double()).sum(-1).to(self.score)

    @property
    def gap(self) -> Float[Tensor, " batch"]:
        """`score - (total + constant)`: what the pairs do not explain. Rounding, or an error was raised."""
        return self.score - (self.total + self.constant)

    @property
    def query_labels(self) -> list[str]:
        """The labels of `query_parts` as text."""
        return [str(part) for part in self.query_parts]

    @property
    def key_labels(self) -> list[str]:
        """The labels of `key_parts` as text."""
        return [str(part) for part in self.key_parts]

    @property
    def directions(self) -> Sequence[str]:
        """None: a score does not depend on what was asked about the logits."""
        return ()

    def direction(self, name: str) -> "AttentionScore":
        """There is none to choose from.

        Raises:
            ValueError: Always.
        """
        place_of_direction(name, [])
        raise AssertionError

    def top(self, k: Count = 5) -> list[tuple[str, str, float]]:
        """The `k` pairs that add or take away most, on average over prompts: part at the query, part at the key, score.

        Raises:
            TypeError: If `k` is not a whole number.
            ValueError: If it is negative.
        """
        k, best = count(k, "k", "pairs", least=0), list[tuple[float, int, int]]()
        queries, rows = _longest_first(self.queries.flatten(1) / len(self.score))
        keys, columns = _longest_first(self.keys.flatten(1))
        lengths = keys.norm(dim=1)
        for start in range(0, len(queries) if k else 0, _AT_A_TIME):
            some = queries[start : start + _AT_A_TIME]
            # A product is at most that of the lengths: shorter keys have none that is among the largest.
            least = abs(best[-1][0]) if len(best) == k else 0.0
            table = some @ keys[: int((lengths * some[0].norm() >= least).sum())].T
            order = table.abs().flatten().topk(min(k, table.numel())).indices.tolist()
            places = [divmod(i, table.shape[1]) for i in order]
            best += [(float(table[i, j]), rows[start + i], columns[j]) for i, j in places]
            best = sorted(best, key=lambda found: -abs(found[0]))[:k]
        return [(str(self.query_parts[row]), str(self.key_parts[column]), value) for value, row, column in best]

    def top_query(self, k: Count = 5) -> list[tuple[str, float]]:
        """The `k` parts at the query that add or take away most, with all of the key, on average over prompts.

        Raises:
            TypeError: If `k` is not a whole number.
            ValueError: If it is negative.
        """
        return _ranked(self.query_labels, self.by_query, k)

    def top_key(self, k: Count = 5) -> list[tuple[str, float]]:
        """The `k` parts at the key that add or take away most, with all of the query; as `top_query`."""
        return _ranked(self.key_labels, self.by_key, k)

    def to_xarray(self) -> "xarray.Dataset":
        """A dataset with dimensions `query_part`, `key_part` and `batch`."""
        names = ("constant", "score", "total", "gap", "tolerance", "query", "key")
        variables: dict[str, Any] = {name: ("batch", _array(getattr(self, name))) for name in names}
        variables |= {
            name: ((f"{name[3:]}_part", "batch"), _array(getattr(self, name))) for name in ("by_query", "by_key")
        }
        variables["values"] = (("query_part", "key_part", "batch"), _array(self.values))
        coords = {"query_part": self.query_labels, "key_part": self.key_labels}
        return dataset_of(variables, coords, self.provenance.direction)

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row for each pair and prompt: query_part, key_part, batch, value."""
        frame = self.to_xarray()["values"].to_dataframe().reset_index()
        return frame.rename(columns={"values": "value"})

    def plot(self) -> Any:
        """The strongest parts at the query by the strongest at the key, as a map of plotly.

        Raises:
            MissingPackageError: If plotly is not installed.
        """
        rows, columns = (_strongest(sums) for sums in (self.by_query, self.by_key))
        values = torch.einsum("qbd,kbd->qk", self.queries[rows], self.keys[columns]).double() / len(self.score)
        down, across = [self.query_labels[i] for i in rows], [self.key_labels[i] for i in columns]
        title, there = self.provenance.direction, len(self.query_parts)
        figure = part_map(title, np.asarray(_array(values)), down, across, there, unit="score")
        return figure.update_layout(xaxis_title="part at the key", yaxis_title="part at the query")

    def __repr__(self) -> str:
        pairs = f"{len(self.query_parts)} x {len(self.key_parts)} pairs"
        return f"AttentionScore({self.provenance.direction}: {mean_of(self.score)}, {pairs})"

    def _grid(self, shown: int) -> Grid:
        lines = tuple(Line(one, (other, signed(value)), value) for one, other, value in self.top(shown))
        ends = [("sum of all pairs", self.total), ("the score as measured", self.score)]
        if bool(self.constant.any()):
            ends.insert(1, ("of position alone", self.constant))
        told_ends = [(name, float(each.double().mean())) for name, each in ends]
        told_ends.append(("largest gap", float(self.gap.abs().max())))
        proof = tuple(Line(name, ("", signed(value))) for name, value in told_ends)
        header = ("part at the key", "score")
        return Grid(self.provenance.direction, header, (lines, proof), rows="part at the query", words=header[:1])


def _sum(vectors: Float[Tensor, "part batch d_head"]) -> Float[Tensor, "batch d_head"]:
    return vectors.sum(0, dtype=torch.float64).to(vectors)


def _longest_first(vectors: Float[Tensor, "part d"]) -> tuple[Float[Tensor, "part d"], list[int]]:
    """The vectors by their lengths, and which each was."""
    order = vectors.norm(dim=1).argsort(descending=True, stable=True)
    return vectors[order], order.tolist()


def _ranked(labels: Sequence[str], sums: Float[Tensor, "part batch"], k: Count) -> list[tuple[str, float]]:
    means = sums.double().mean(1)
    best = means.abs().argsort(descending=True, stable=True)[: count(k, "k", "parts", least=0)].tolist()
    return [(labels[i], float(means[i])) for i in best]


def _strongest(sums: Float[Tensor, "part batch"]) -> list[int]:
    kept: list[int] = sums.double().mean(1).abs().argsort(descending=True, stable=True)[:_DRAWN].tolist()
    return kept


def _array(tensor: Tensor) -> Any:
    return tensor.detach().cpu().numpy()

"""From an attribution to a graph: the strongest parts through all paths, and what each read of the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dla.decomposers.base import Decomposer, as_decomposer
from dla.decomposers.head import HeadDecomposer
from dla.engine.all_paths import AllPaths, Met
from dla.engine.forward import Unembed
from dla.engine.frozen import FrozenRun
from dla.engine.links import ReadPart, edges_into, read_of
from dla.engine.rules import Rule
from dla.errors import ReconstructionError
from dla.inputs.given import Count, count, number
from dla.inputs.given import shown as told
from dla.labels import Label
from dla.results.attributed import AttributedRows, run_of
from dla.results.trace_back import end_of, one_position, rows_of_walk
from dla.results.traced_positions import Pos
from dla.tolerances import TOLERANCE
from dla.views.graph import Graph
from dla.views.graph_data import GraphData, GraphEdge, GraphNode


@torch.no_grad()
def graph(
    result: AttributedRows,
    by: Decomposer | None = None,
    *,
    keep: float = 0.8,
    most: Count = 100,
    rule: Rule | None = None,
    pos: Pos = None,
) -> Graph:
    """The parts that fed a logit of one prompt, as a graph; one run and one walk backwards.

    Args:
        result: The attribution.
        by: What the parts are; None for heads, MLPs and embeddings.
        keep: How much of all that parts give the logit through all paths, of either sign, the shown ones make up.
        most: How many parts are shown at most.
        rule: How a gated MLP is read as linear: `FrozenGate()`, `FrozenUp()` or `Mixed(0.5)`.
        pos: Which position, where the result is about several.

    Raises:
        ReconstructionError: If the edges into a node are not what was measured.
        RunChangedError: If the model does not run any more as it ran for the result.
        TypeError: If an argument is of another kind.
        UnsupportedModelError: If the adapter does not say what sublayers read.
        ValueError: If `keep` is not above 0 and at most 1, there are several prompts, positions or directions, rows
            depend on values, or the rule does not fit.
    """
    share, most = number(keep, "keep"), count(most, "most", "parts")
    if not 0 < share <= 1:
        raise ValueError(f"keep={told(keep)}; pass a share above 0 and at most 1, such as 0.8.")
    rerun = run_of(result, "graph")
    prompts = rerun.query.prompts
    if prompts.batch > 1:
        raise ValueError(f"The result is about {prompts.batch} prompts, and a graph shows one. Attribute one alone.")
    asked = one_position(rerun.query, pos)
    paths = AllPaths(rerun.query, HeadDecomposer() if by is None else as_decomposer(by), rule)
    run = FrozenRun(rerun.query, paths.names())
    rerun.again(run.observers(), Unembed.SAMPLE)
    end = end_of(rerun, asked, run)
    met, walked = paths.meet(end, run)
    rows_of_walk(rerun, paths.start, walked, run, asked, "traced back to tokens", rule).proven(result)
    strongest = _Strongest.of(met, end, run, share, most)
    links = strongest.links(rule, run, run.unit(rerun.eps))
    column, tolerance = int(asked.to(torch.long).argmax()), float(result.tolerance.nan_to_num().max())
    at = int(rerun.query.positions.index[0, column])
    logit, constant = (float(each.flatten()[column]) for each in (result.logit, result.constant))
    nodes, edges = strongest.drawn(
        links, GraphNode(result.provenance.direction, "logit", None, at, logit, logit), constant, tolerance
    )
    return Graph(
        GraphData(
            nodes=nodes,
            edges=edges,
            direction=result.provenance.direction,
            rule="" if rule is None else rule.words,
            tokens=tuple(prompts.texts()[0]) if prompts.known else (),
            model=result.provenance.model,
            tolerance=max([tolerance, *(link.allowed for link in links if isinstance(link, _Link))]),
        )
    )


@final
@dataclass(frozen=True, eq=False)
class _Link:
    """What went into one node.

    Attributes:
        rows: What it read of every row at every position.
        constant: What it read of biases.
        allowed: How far their sum may be from what was measured.
    """

    rows: Float[Tensor, "row pos"]
    constant: float
    allowed: float


@final
@dataclass(frozen=True, eq=False)
class _Strongest:
    """All parts of one prompt, and which of them are shown.

    Attributes:
        met: The steps that write them.
        direct: What each gives the logit directly.
        total: What each gives it through all paths.
        chosen: Row and position of each that is shown, in the order of the rows.
    """

    met: Sequence[Met]
    direct: Float[Tensor, "row pos"]
    total: Float[Tensor, "row pos"]
    chosen: Sequence[tuple[int, int]]

    @staticmethod
    def of(
        met: Sequence[Met], end: Float[Tensor, "batch pos d_model"], run: FrozenRun, share: float, most: int
    ) -> "_Strongest":
        """The parts that make up a share of all that parts give the logit."""
        both = []
        for each in met:
            rows = each.step.write.contract(run, torch.stack([end, each.direction]))
            both.append(rows[:, :, 0].expand(2, rows.shape[1], end.shape[1]))
        direct, total = torch.cat(both, 1)
        sizes, order = total.double().abs().flatten().sort(descending=True, stable=True)
        enough = int((sizes.cumsum(0) < share * sizes.sum()).sum()) + 1
        kept = order[sizes > 0][: min(enough, most)].tolist()
        return _Strongest(met, direct, total, [divmod(i, total.shape[1]) for i in sorted(kept)])

    @property
    def labels(self) -> list[Label]:
        """The labels of all rows."""
        return [label for each in self.met for label in each.step.write.labels]

    def links(self, rule: Rule | None, run: FrozenRun, unit: float) -> list["_Link | str"]:
        """What went into each node that is shown, or why that is not known.

        Raises:
            ReconstructionError: If it is not what was measured.
        """
        reads: list[ReadPart | str] = []
        first = 0
        for each in self.met:
            last = first + len(each.step.write.labels)
            wanted = [(row - first, pos) for row, pos in self.chosen if first <= row < last]
            reads += read_of(each, wanted, rule, run) if wanted else []
            first = last
        rows = edges_into([read for read in reads if isinstance(read, ReadPart)], self.met, run)
        return [
            read if isinstance(read, str) else self._checked(read, next(rows), float(self.total[at]), unit)
            for read, at in zip(reads, self.chosen, strict=True)
        ]

    def drawn(
        self, links: Sequence["_Link | str"], asked: GraphNode, constant: float, tolerance: float
    ) -> tuple[tuple[GraphNode, ...], tuple[GraphEdge, ...]]:
        """The nodes and edges, the logit first and what is not shown one by one last."""
        labels, edges = self.labels, list[GraphEdge]()
        biases, pruned = len(self.chosen) + 1, len(self.chosen) + 2
        into = [_Link(self.direct, constant, tolerance), *links]
        mask = torch.ones_like(self.direct, dtype=torch.bool)
        for at in self.chosen:
            mask[at] = False
        for target, link in enumerate(into):
            if isinstance(link, str):
                continue
            edges += [GraphEdge(i, target, float(link.rows[at])) for i, at in enumerate(self.chosen, start=1)]
            edges += [GraphEdge(biases, target, link.constant)]
            edges += [GraphEdge(pruned, target, float(link.rows[mask].sum(dtype=torch.float64)))]
        edges = [edge for edge in edges if edge.value]
        nodes = [asked]
        for (row, pos), link in zip(self.chosen, links, strict=True):
            label, told_ = labels[row], link if isinstance(link, str) else ""
            value, direct = float(self.total[row, pos]), float(self.direct[row, pos])
            nodes.append(GraphNode(str(label), label.kind, label.layer, pos, value, direct, told_))
        for number_, kind, note in ((biases, "biases", "they are no part"), (pruned, "pruned", "parts not shown")):
            own = [edge.value for edge in edges if edge.source == number_]
            to_logit = [edge.value for edge in edges if edge.source == number_ and edge.target == 0]
            nodes.append(GraphNode(kind, kind, None, None, float(sum(own)), float(sum(to_logit)), note))
        return tuple(nodes), tuple(edges)

    def _checked(self, read: ReadPart, rows: Float[Tensor, "row pos"], value: float, unit: float) -> _Link:
        allowed = TOLERANCE * unit * (read.size + float(rows.abs().sum()) + abs(read.constant))
        added = float(rows.sum(dtype=torch.float64)) + read.constant
        missed = max(abs(added - read.measured), abs(value - read.measured))
        if not missed <= allowed:
            raise ReconstructionError(
                f"What a part read misses what it gave the logit by {missed:.1e} (allowed: {allowed:.1e}). What a hook "
                "edits between two parts is in none of them."
            )
        return _Link(rows, read.constant, allowed)

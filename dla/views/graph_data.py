"""What a graph holds, as plain values, and as a file."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import final

from dla.errors import FileFormatError
from dla.text import as_text
from dla.views.declared import declared_of
from dla.views.files import replacing
from dla.views.sealed import sealed_json
from dla.views.stored_text import restored, stored

GRAPH_FORMAT = "dla.graph/1"


@final
@dataclass(frozen=True)
class GraphNode:
    """A part at a position, the logit, or what is not shown one by one.

    Attributes:
        label: The part's label as text.
        kind: The part's kind; "logit", "biases" or "pruned".
        layer: Its layer, if it has one.
        position: Where it writes; None for what has no position.
        value: What it gives the logit through all paths.
        direct: What of that reaches the logit directly.
        note: Why there are no edges into it; empty where there are.
    """

    label: str
    kind: str
    layer: int | None
    position: int | None
    value: float
    direct: float
    note: str = ""


@final
@dataclass(frozen=True)
class GraphEdge:
    """What one node gives the logit by having been read by another.

    Attributes:
        source: The number of the node that wrote.
        target: The number of the node that read.
        value: In logits.
    """

    source: int
    target: int
    value: float


@final
@dataclass(frozen=True)
class GraphData:
    """A graph, as it is described at `Graph`."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    direction: str
    rule: str
    tokens: tuple[str, ...]
    model: str
    tolerance: float
    format: str = GRAPH_FORMAT

    def into(self, node: int) -> list[GraphEdge]:
        """The edges into a node, the strongest first."""
        return sorted((e for e in self.edges if e.target == node), key=lambda e: (-abs(e.value), e.source))

    def gap(self, node: int) -> float:
        """What the edges into a node miss its value by; 0 where there are none."""
        edges = self.into(node)
        return self.nodes[node].value - sum(edge.value for edge in edges) if edges else 0.0


def write_graph(data: GraphData, path: Path) -> None:
    """Writes a graph as JSON, whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_text(sealed_json(json.dumps(stored(asdict(data)))), encoding="utf-8")


def read_graph(path: Path) -> GraphData:
    """Reads a graph, and proves again that its edges add up.

    Raises:
        FileNotFoundError: If there is no such file.
        FileFormatError: If it is not one of ours, or was edited.
    """
    try:
        found: GraphData = declared_of(path.read_bytes(), GraphData, GRAPH_FORMAT)
        data = _restored(found)
        ends = {end for edge in data.edges for end in (edge.source, edge.target)}
        if not ends <= set(range(len(data.nodes))):
            raise ValueError("an edge ends at no node")
        if any(not abs(data.gap(node)) <= data.tolerance for node in range(len(data.nodes))):
            raise ValueError("the edges into a node do not add up to it")
    except ValueError as error:
        raise FileFormatError(
            f"{str(path)!r} is not a graph saved by this library, or was edited ({as_text(str(error))}). Save it again."
        ) from error
    return data


def _restored(data: GraphData) -> GraphData:
    nodes = tuple(replace(node, label=restored(node.label), kind=restored(node.kind)) for node in data.nodes)
    return replace(data, nodes=nodes, tokens=restored(data.tokens), direction=restored(data.direction))

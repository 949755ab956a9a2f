"""A graph of parts that fed each other, as users have it: a tree, tables, files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from rich.console import Console, ConsoleOptions
from rich.text import Text
from rich.tree import Tree

from dla.inputs.arguments import file_path
from dla.inputs.given import Count, count
from dla.text import as_text, shortened
from dla.views.circuit_tracer import write_circuit_tracer
from dla.views.endings import check_target
from dla.views.frames import frame_of_rows
from dla.views.graph_data import GraphData, GraphEdge, GraphNode, read_graph, write_graph
from dla.views.grid import printed, signed
from dla.views.plots.node_graph import node_graph
from dla.views.text import as_html

if TYPE_CHECKING:
    import networkx
    import pandas

_JSON = (".json",)
_LINES = 40  # of a tree in a notebook, before the rest is folded


@final
@dataclass(frozen=True)
class Graph:
    """The strongest parts of one prompt, at the positions where they write, and what each read of the others.

    A node's value is what it gives the logit through all paths, and all edges into a node that was traced add up to it:
    those of other parts, of `biases`, and of `pruned`, which is all parts that are not shown. The first node is the
    logit; `biases` and `pruned` are the last.

    Attributes:
        data: What it holds: nodes, edges, what was asked, and how far edges may be from their sum by rounding.
    """

    data: GraphData

    @property
    def nodes(self) -> tuple[GraphNode, ...]:
        """The logit, the parts, the biases and what was pruned."""
        return self.data.nodes

    @property
    def edges(self) -> tuple[GraphEdge, ...]:
        """From a node to one that read it."""
        return self.data.edges

    def into(self, node: int) -> list[GraphEdge]:
        """The edges into the node with a number, the strongest first."""
        return self.data.into(node)

    def gap(self, node: int) -> float:
        """What the edges into a node miss its value by; 0 where it was not traced, so that there are none."""
        return self.data.gap(node)

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row for each edge: source, source_position, target, target_position, value."""
        columns = ("source", "source_position", "target", "target_position", "value")
        ends = [(self.nodes[edge.source], self.nodes[edge.target], edge.value) for edge in self.edges]
        return frame_of_rows(columns, [(s.label, s.position, t.label, t.position, value) for s, t, value in ends])

    def to_networkx(self) -> "networkx.DiGraph[int]":
        """A directed graph by the numbers of the nodes, whose attributes are those of `nodes` and `edges`."""
        import networkx  # takes long: only who wants such a graph waits for it

        graph: networkx.DiGraph[int] = networkx.DiGraph()
        graph.add_nodes_from((i, vars(node)) for i, node in enumerate(self.nodes))
        graph.add_edges_from((edge.source, edge.target, {"value": edge.value}) for edge in self.edges)
        return graph

    def save(self, path: str | Path) -> None:
        """Writes the graph as JSON; `dla.load_graph` reads it.

        Raises:
            ValueError: If the name has the ending of another format.
            OSError: If it cannot be written.
        """
        file = file_path(path, "the file")
        check_target(file, _JSON, "JSON", tabular=False)
        write_graph(self.data, file)

    def to_circuit_tracer(self, path: str | Path, *, slug: str = "graph") -> None:
        """Writes the JSON that the front ends of circuit-tracer and Neuronpedia read.

        Args:
            path: The file.
            slug: What the graph is called there.

        Raises:
            ValueError: If the name has the ending of another format.
            OSError: If it cannot be written.
        """
        file = file_path(path, "the file")
        check_target(file, _JSON, "JSON", tabular=False)
        write_circuit_tracer(self.data, slug, file)

    def plot(self) -> Any:
        """The nodes by position and layer, the logit on top, and the strongest edges; a figure of plotly.

        Raises:
            MissingPackageError: If plotly is not installed.
        """
        return node_graph(self.data)

    def tree(self, depth: Count = 3, width: Count = 4) -> Tree:
        """The strongest edges as a tree, from the logit back.

        Args:
            depth: How many steps.
            width: How many edges into each node.

        Raises:
            TypeError: If one is not a whole number.
            ValueError: If one is less than one.
        """
        root = self.nodes[0]
        tree = Tree(Text(as_text(f"{shortened(root.label)} {signed(root.value)}")))
        self._grow(tree, 0, count(depth, "depth", "steps"), count(width, "width", "edges"))
        return tree

    def _grow(self, tree: Tree, node: int, depth: int, width: int) -> None:
        for edge in self.into(node)[:width] if depth else ():
            source = self.nodes[edge.source]
            at = "" if source.position is None else f" at {source.position}{self._token(source.position)}"
            # What fed a node made all of its value, of which an edge may be a share.
            partial = self.into(edge.source) and abs(source.value - edge.value) > self.data.tolerance
            whole = f", {signed(source.value)} in all" if partial else ""
            branch = tree.add(Text(as_text(f"{signed(edge.value)} {source.label}{at}{whole}")))
            self._grow(branch, edge.source, depth - 1, width)

    def _token(self, position: int) -> str:
        return f" {self.data.tokens[position]!r}" if position < len(self.data.tokens) else ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Tree]:
        yield self.tree()

    def _repr_html_(self) -> str:
        lines = printed(self).rstrip("\n").split("\n")
        shown, folded = (f"<pre>{'<br>'.join(map(as_html, some))}</pre>" for some in (lines[:_LINES], lines[_LINES:]))
        more = f"<details><summary>{len(lines) - _LINES} more lines</summary>{folded}</details>"
        return shown + (more if lines[_LINES:] else "")

    def __str__(self) -> str:
        return printed(self)

    def __repr__(self) -> str:
        return f"Graph({shortened(self.data.direction)}: {len(self.nodes)} nodes, {len(self.edges)} edges)"


def load_graph(path: str | Path) -> Graph:
    """Reads a graph that `Graph.save` wrote, and proves again that its edges add up.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If `path` is no path.
        FileFormatError: If it is not one of ours, or was edited.
    """
    return Graph(read_graph(file_path(path, "the file")))

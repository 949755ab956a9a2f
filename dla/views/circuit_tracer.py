"""The JSON that the front ends of circuit-tracer and Neuronpedia read."""

import json
from pathlib import Path
from typing import Any

from dla.views.files import replacing
from dla.views.graph_data import GraphData, GraphNode
from dla.views.stored_text import stored

_OWN_KINDS = {"logit": "logit", "embed": "embedding", "pos_embed": "embedding", "pruned": "mlp reconstruction error"}
"""The kinds of node that those front ends draw in a way of their own; all others are drawn as features."""


def write_circuit_tracer(data: GraphData, slug: str, path: Path) -> None:
    """Writes a graph for them, whole or not at all.

    Args:
        data: The graph.
        slug: What it is called there.
        path: The file.
    """
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(stored(_contents(data, slug)), indent=1), encoding="utf-8")


def _contents(data: GraphData, slug: str) -> dict[str, Any]:
    last = max((node.layer or 0 for node in data.nodes), default=0)
    ids = [_id(i, node, last) for i, node in enumerate(data.nodes)]
    return {
        "metadata": {
            "slug": slug,
            "scan": data.model,
            "prompt_tokens": list(data.tokens),
            "prompt": "".join(data.tokens),
            "schema_version": 1,
        },
        "qParams": {"linkType": "both", "pinnedIds": [], "clickedId": ids[0], "supernodes": [], "sg_pos": ""},
        "nodes": [_node(i, node, ids[i], last, len(data.tokens)) for i, node in enumerate(data.nodes)],
        "links": [{"source": ids[e.source], "target": ids[e.target], "weight": e.value} for e in data.edges],
    }


def _layer(node: GraphNode, last: int) -> str:
    if node.kind == "logit":
        return str(last + 1)
    return "E" if node.layer is None else str(node.layer)


def _id(i: int, node: GraphNode, last: int) -> str:
    return f"{_layer(node, last)}_{i}_{node.position or 0}"


def _node(i: int, node: GraphNode, id_: str, last: int, width: int) -> dict[str, Any]:
    position = width - 1 if node.kind == "logit" and node.position is None else node.position or 0
    return {
        "node_id": id_,
        "jsNodeId": f"{id_}-0",
        "feature": i,
        "layer": _layer(node, last),
        "ctx_idx": position,
        "reverse_ctx_idx": width - 1 - position,
        "run_idx": 0,
        "feature_type": _OWN_KINDS.get(node.kind, "cross layer transcoder"),
        "token_prob": 0.0,
        "is_target_logit": node.kind == "logit",
        "clerp": node.label,
        "influence": abs(node.value),
        "activation": node.value,
    }

"""Effects through all paths are gradients of a frozen copy, and a graph's edges add up to each node."""

import json
import re
from dataclasses import replace
from functools import cache
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import dla
from dla.adapters.transformer_lens import TransformerLensAdapter
from dla.testing import TinyModel
from tests.frozen_by_hand import FrozenByHand
from tests.subjects import FEW, GPT2, params, some_tokens
from tests.traced_subjects import ALLOWED, ASKED, DOUBLE, EACH_RULE, attributed, rule_of


@cache
def graphed(name: str = "gpt2", keep: float = 0.8) -> dla.Graph:
    model = DOUBLE[name].model()
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(some_tokens(1, 1), ASKED)
    return dla.graph(result, keep=keep, rule=rule_of(DOUBLE[name]))


@pytest.mark.parametrize(("name", "rule", "share"), EACH_RULE)
def test_totals_are_those_of_a_frozen_copy(name: str, rule: Any, share: float) -> None:
    frozen = FrozenByHand(name, some_tokens(1), share)
    paths = {"0_mlp_out": frozen.parts.mlp.format(0), "embed": frozen.parts.embeddings[0]}
    logits = frozen.logits[:, -1]
    effects = dla.total_effects(attributed(name, dla.HeadDecomposer()), rule=rule)
    for label, path in paths.items():
        written = frozen.leaving(path)
        (gradient,) = torch.autograd.grad((logits[:, 5] - logits[:, 6]).sum(), written, retain_graph=True)
        truth = (gradient * written).sum(-1).detach()
        total = effects.total[effects.labels.index(label)]
        torch.testing.assert_close(total, truth, atol=ALLOWED[name], rtol=ALLOWED[name])
    z = frozen.entering(frozen.parts.attention_output.format(0))
    (gradient,) = torch.autograd.grad((logits[:, 5] - logits[:, 6]).sum(), z)
    truth = (gradient * z).detach().unflatten(-1, (4, -1)).sum(-1)
    heads = torch.stack([effects.total[effects.labels.index(f"L0H{head}")] for head in range(4)], -1)
    torch.testing.assert_close(heads, truth, atol=ALLOWED[name], rtol=ALLOWED[name])


def test_direct_effects_are_the_rows() -> None:
    result = attributed("gpt2", dla.HeadDecomposer())
    effects = dla.total_effects(result)
    assert effects.labels == result.labels
    torch.testing.assert_close(effects.direct[:, :, -1], result.values)
    assert not bool(effects.direct[:, :, :-1].any())
    assert abs(effects.top(1)[0][2]) == pytest.approx(float(effects.total.mean(1).abs().max()))
    label, at, value = effects.top(1, by="through")[0]
    assert value == pytest.approx(float(effects.through[effects.labels.index(label), :, at].mean()))
    frame = effects.to_dataframe()
    assert len(frame) == effects.total.numel()
    torch.testing.assert_close(torch.tensor(frame.total.to_numpy()), effects.total.flatten(), atol=1e-12, rtol=0)
    assert "through others" in str(effects)
    with pytest.raises(ValueError, match="by='most'"):
        effects.top(by="most")


@pytest.mark.parametrize("subject", params(FEW))
def test_all_edges_into_a_node_are_its_value(subject: TinyModel) -> None:
    result = dla.Attributor(subject.model(), dla.ComponentDecomposer()).attribute(some_tokens(2, 1), ASKED)
    graph = dla.graph(result, rule=rule_of(subject))
    traced = [i for i, node in enumerate(graph.nodes) if not node.note]
    assert 0 in traced
    assert all(graph.into(i) for i in traced)
    assert max(abs(graph.gap(i)) for i in traced) <= graph.data.tolerance < 1e-3
    assert graph.nodes[0].value == pytest.approx(float(result.logit))


def test_an_edge_is_what_was_read_of_one_part() -> None:
    """The head that reads the logit directly and by the last MLP, by hand: the trace of all that it gives."""
    graph = graphed(keep=1.0)
    result = dla.Attributor(DOUBLE["gpt2"].model(), dla.HeadDecomposer()).attribute(some_tokens(1, 1), ASKED)
    mlp = next(i for i, node in enumerate(graph.nodes) if node.label == "1_mlp_out" and node.position == 5)
    trace = result.trace("1_mlp_out", by=dla.HeadDecomposer())
    values = dict(zip(trace.labels, trace.values[:, 0].tolist(), strict=True))
    for edge in graph.into(mlp):
        source = graph.nodes[edge.source]
        if source.position == 5:
            assert edge.value == pytest.approx(values[source.label], abs=1e-10)


def test_keep_says_how_much_is_shown() -> None:
    few, all_ = graphed(keep=0.3), graphed(keep=1.0)
    assert 3 < len(few.nodes) < len(all_.nodes)
    assert [node.label for node in few.nodes][-2:] == ["biases", "pruned"]
    assert all_.nodes[-1].value == 0.0
    result = dla.Attributor(DOUBLE["gpt2"].model(), dla.HeadDecomposer()).attribute(some_tokens(1, 1), ASKED)
    effects = dla.total_effects(result)
    shown = sum(abs(node.value) for node in few.nodes[1:-2])
    assert shown >= 0.3 * float(effects.total.abs().sum())
    assert len(dla.graph(result, most=4).nodes) == 7
    assert dla.graph(result, keep=0.3) == few


def test_a_graph_takes_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    result = dla.Attributor(GPT2.model(), dla.HeadDecomposer()).attribute(some_tokens(1, 1), ASKED)
    dla.graph(result)
    passes, run = [], TransformerLensAdapter.run

    def counting(*args: Any) -> Tensor:
        passes.append(1)
        return run(*args)

    monkeypatch.setattr(TransformerLensAdapter, "run", counting)
    dla.graph(result)
    assert len(passes) == 1


def test_a_forgotten_bias_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    result = dla.Attributor(GPT2.model(), dla.HeadDecomposer()).attribute(some_tokens(1, 1), ASKED)
    monkeypatch.setattr("dla.adapters.reads.StreamEntry.constant", lambda self, d: d.new_zeros(d.shape[:-1]))
    for ask in (dla.graph, dla.total_effects):
        with pytest.raises(dla.ReconstructionError, match="the biases on the way miss the logit by up to"):
            ask(result)
    monkeypatch.setattr("dla.results.graph.rows_of_walk", lambda *args: SimpleNamespace(proven=lambda result: None))
    with pytest.raises(dla.ReconstructionError, match="What a part read misses what it gave the logit by"):
        dla.graph(result)


def test_a_part_that_was_edited_is_on_no_path() -> None:
    edited = dla.Attributor(GPT2.model(), dla.HeadDecomposer()).attribute(
        some_tokens(1, 1), ASKED, edits=[dla.Edit("L0H1", dla.Zero())]
    )
    for ask in (dla.graph, dla.total_effects, lambda result: result.trace_back()):
        with pytest.raises(dla.ReconstructionError, match="What a hook edits between two parts is in none of them"):
            ask(edited)
    with pytest.raises(dla.ReconstructionError, match="it is not linear in what its sublayer made"):
        edited.trace("L0H1", by=dla.HeadDecomposer())
    trace = edited.trace("L1H1", by=dla.HeadDecomposer())
    assert not bool(trace.values[trace.labels.index("L0H1")].any())


def test_a_graph_is_saved_and_read(tmp_path: Path) -> None:
    graph, file = graphed(), tmp_path / "graph.json"
    graph.save(file)
    assert dla.load_graph(file) == graph
    for damaged in (file.read_text().replace("L1H2", "L1H3"), "{}", "no JSON"):
        file.write_text(damaged)
        with pytest.raises(dla.FileFormatError, match="is not a graph saved by this library, or was edited"):
            dla.load_graph(file)
    with pytest.raises(ValueError, match=re.escape(".csv")):
        graph.save(tmp_path / "graph.csv")


def test_a_graph_is_written_for_other_front_ends(tmp_path: Path) -> None:
    graph, file = graphed(), tmp_path / "ct.json"
    graph.to_circuit_tracer(file, slug="mine")
    found = json.loads(file.read_text())
    assert set(found) == {"metadata", "qParams", "nodes", "links"}
    assert found["metadata"]["slug"] == "mine"
    assert found["metadata"]["prompt_tokens"] == list(graph.data.tokens)
    ids = [node["node_id"] for node in found["nodes"]]
    assert len(set(ids)) == len(graph.nodes)
    assert {end for link in found["links"] for end in (link["source"], link["target"])} <= set(ids)
    assert [node["clerp"] for node in found["nodes"] if node["is_target_logit"]] == [graph.nodes[0].label]
    assert sum(link["weight"] for link in found["links"] if link["target"] == ids[0]) == pytest.approx(
        graph.nodes[0].value
    )


def test_a_graph_is_shown() -> None:
    graph = graphed()
    told = str(graph)
    assert told.startswith(f"logit difference 5 - 6 {graph.nodes[0].value:+.4f}\n├── ")
    assert f"{graph.into(0)[0].value:+.4f} {graph.nodes[graph.into(0)[0].source].label}" in told
    assert len(graph.to_dataframe()) == len(graph.edges)
    other = graph.to_networkx()
    assert (other.number_of_nodes(), other.number_of_edges()) == (len(graph.nodes), len(graph.edges))
    assert other.nodes[0]["value"] == graph.nodes[0].value
    assert repr(graph) == f"Graph(logit difference 5 - 6: {len(graph.nodes)} nodes, {len(graph.edges)} edges)"
    with pytest.raises(ValueError, match="depth=0"):
        graph.tree(depth=0)


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    attributor = dla.Attributor(GPT2.model(), dla.HeadDecomposer())
    one, two = (attributor.attribute(some_tokens(1, batch), ASKED) for batch in (1, 2))
    for keep in (0.0, -0.5, 1.01):
        with pytest.raises(ValueError, match=re.escape(f"keep={keep}; pass a share above 0 and at most 1")):
            dla.graph(one, keep=keep)
    with pytest.raises(ValueError, match="about 2 prompts, and a graph shows one"):
        dla.graph(two)
    with pytest.raises(TypeError, match="graph: 'L1H0' is no attribution|Expected type"):
        dla.graph("L1H0")  # type: ignore[arg-type]  # what is refused
    with pytest.raises(ValueError, match="sums of several parts, or depend on their values"):
        dla.graph(one, dla.NeuronDecomposer(top_k=3))
    with pytest.raises(ValueError, match="The rows of LayerDecomposer do not add up"):
        dla.total_effects(one, dla.LayerDecomposer())
    one.save(tmp_path / "one.nc")
    with pytest.raises(ValueError, match="graph runs the model again, and this result was read from a file"):
        dla.graph(dla.load(tmp_path / "one.nc"))


def test_what_cannot_be_traced_is_a_leaf_that_says_why() -> None:
    result = dla.Attributor(TinyModel("gpt_oss").model(), dla.HeadDecomposer()).attribute(some_tokens(2, 1), ASKED)
    graph = dla.graph(result, keep=1.0)
    notes = {node.label: node.note for node in graph.nodes}
    assert notes["0_mlp_out"] == "an expert of blocks.0.mlp is not act(x W_gate) * (x W_up) W_down"
    assert notes["embed"] == "it read nothing of the stream"
    assert notes["L1H0"] == ""


def test_a_notebook_shows_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graphed()
    asked = replace(graph.nodes[0], label="<script>")
    html = dla.Graph(replace(graph.data, nodes=(asked, *graph.nodes[1:])))._repr_html_()
    assert html.startswith("<pre>&lt;script&gt; ")
    monkeypatch.setattr("dla.views.graph._LINES", 3)
    html, lines = graph._repr_html_(), str(graph).splitlines()
    assert f"<details><summary>{len(lines) - 3} more lines</summary><pre>" in html
    shown = [unescape(line) for text in re.findall("<pre>(.*?)</pre>", html) for line in text.split("<br>")]
    assert shown == lines

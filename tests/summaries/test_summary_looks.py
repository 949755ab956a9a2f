"""How summaries and comparisons are printed and drawn."""

import re
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from folders import LABELS, TOLERANCE, corpus, drawn, seal, write_folder

import dla

VALUES = np.array([[1.5, -3, 2, 0, -1], [2.5, -3, 2, 0.5, -1]], np.float32).repeat(3, 0)


def load(folder, by=None, n=6, **manifest):
    return dla.Summary.load(write_folder(folder, corpus(n), drawn(n) if n != 6 else VALUES, **manifest), by)


def rows(text):
    """The cells of each row of a printed table, without bars."""
    lines = [line.strip("│").split("│") for line in text.splitlines() if line.startswith("│")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:] if "█" not in cell] for cells in lines}


def test_the_table_ranks_the_parts_and_proves_them(tmp_path):
    text = str(load(tmp_path / "s"))
    table = rows(text)
    parts = ["embed", "L0H1", "L1H0", "0_b_O", "L0H0"]
    assert list(table)[:5] == sorted(parts, key=lambda label: -VALUES.mean(0)[LABELS.index(label)])
    assert table["embed"][:3] == ["+2.0000", "[+1.4252, +2.5748]", "100.0 %"]
    assert table["L1H0"][2] == "50.0 %"
    proof = ["sum of the parts", "constant", "the model's own logit", "largest gap"]
    assert list(table)[5:] == proof
    assert table["largest gap"][1] == "within tolerance"
    assert table["sum of the parts"][0] == f"{VALUES.sum(1).mean():+.4f}"
    assert text.splitlines()[0].strip() == "HeadDecomposer on a model, mean over 6 prompts"
    assert "95 % interval" in text


def test_few_rows_are_shown_at_each_end(tmp_path, capsys):
    from rich.console import Console

    Console(width=100, no_color=True).print(load(tmp_path / "s").table(shown=1, interval=dla.NormalInterval(0.5)))
    out = capsys.readouterr().out
    assert list(rows(out))[:2] in (["embed", "L0H0"], ["L0H1", "L0H0"])
    assert "50 % interval" in out


def test_groups_stand_beside_each_other(tmp_path):
    summary = load(tmp_path / "s", "order", n=50)
    table = rows(str(summary))
    for group, column in (("ABBA", 1), ("BABA", 2)):
        frame = summary.group(group).to_dataframe().set_index("part")
        for label in LABELS:
            reach = (frame.loc[label, "high"] - frame.loc[label, "low"]) / 2
            assert table[label][column] == f"{frame.loc[label, 'mean']:+.2f} ±{reach:.2f}"
    assert "by order" in str(summary)
    assert "±: half of the 95 % interval." in str(summary)


def test_many_groups_are_rows(tmp_path):
    summary = load(tmp_path / "s", ["order", "length"], n=80)
    table = rows(str(summary))
    assert list(table) == ["all", *(f"{order}, {length}" for order in ("ABBA", "BABA") for length in (3, 4, 5))]
    assert table["all"][0] == "80"
    one = summary.group("BABA", 4)
    header = re.search(r"┃ group .*", str(summary))[0].strip("┃").split("┃")
    strongest = [name.strip() for name in header[2:-1]]
    means = dict(one.top(5))
    assert table["BABA, 4"] == [
        str(one.count),
        *(f"{means[label]:+.2f}" for label in strongest),
        f"{one.sums().set_index('sum').loc['logit', 'mean']:+.2f}",
    ]


def test_a_part_that_is_strong_in_one_group_alone_is_a_column(tmp_path):
    values = np.full((60, 8), 5, np.float32)
    length = corpus(60)["length"].to_numpy()
    values[:, 7] = np.where(length == 3, 9, np.where(length == 4, -9, 0))
    labels = tuple(f"L0H{i}" for i in range(8))
    folder = write_folder(tmp_path / "s", corpus(60), values, labels=labels)
    summary = dla.Summary.load(folder, ["order", "length"])
    assert dict(summary.bottom(1, by="abs")).keys() == {"L0H7"}
    assert "L0H7" in str(summary)


def test_more_groups_than_fit_are_counted(tmp_path):
    assert "the largest groups; 10 more are in to_dataframe()." in str(load(tmp_path / "s", "prompt", n=30))


def test_the_largest_groups_are_shown_first(tmp_path):
    sizes = [1 + (7 * i) % 30 for i in range(30)]
    prompts = corpus(sum(sizes)).assign(name=np.repeat([f"n{i:02d}" for i in range(30)], sizes))
    summary = dla.Summary.load(write_folder(tmp_path / "s", prompts, drawn(len(prompts))), "name")
    table = rows(str(summary))
    expected = sorted(range(30), key=lambda i: -sizes[i])[:20]
    assert list(table) == ["all", *(f"n{i:02d}" for i in expected)]
    assert [int(table[f"n{i:02d}"][0]) for i in expected] == [sizes[i] for i in expected]


def test_a_trajectory_keeps_its_order(tmp_path):
    text = str(load(tmp_path / "s", row_kind="cumulative"))
    assert [label for label in rows(text) if label in LABELS] == list(LABELS)
    assert "the last row" in text


@pytest.mark.parametrize("by", [None, "order", "prompt"])
def test_what_is_missing_stands_below(tmp_path, by):
    folder = write_folder(
        tmp_path / "s", corpus(6), VALUES, complete=False, counts={"prompts": 6, "rejected": 12, "seconds": 1.0}
    )
    assert "12 rows were rejected. The sweep is not complete." in str(dla.Summary.load(folder, by))
    assert "rejected" not in str(load(tmp_path / "t", by))


def test_a_gap_beyond_tolerance_is_told(tmp_path, monkeypatch):
    assert "times its tolerance" not in str(load(tmp_path / "s"))
    monkeypatch.setattr("folders.TOLERANCE", 10 * TOLERANCE)
    folder = write_folder(tmp_path / "t", corpus(6), VALUES)
    import pyarrow.parquet as pq

    file = folder / "prompts/00000000.parquet"
    table = pq.read_table(file)
    place = table.schema.get_field_index("tolerance")
    small = table.column("tolerance").to_numpy() / 10
    pq.write_table(table.set_column(place, "tolerance", [small]), file)
    seal(folder, dict(dla.open_sweep(folder).manifest))
    summary = dla.Summary.load(folder)
    misfit = f"{summary.sums().set_index('sum').loc['misfit', 'max']:.1f}"
    assert 5 < float(misfit) < 9.5
    assert f"The largest gap is {misfit} times its tolerance" in str(summary)
    assert rows(str(summary))["largest gap"][1] == f"{misfit} × tolerance"


def test_a_path_is_not_shown_in_full(tmp_path):
    folder = write_folder(
        tmp_path / "s",
        corpus(6),
        VALUES,
        model={"name": "/home/someone/gpt", "weights": "1"},
        decomposer="HeadDecomposer(layers=None)",
    )
    assert str(dla.Summary.load(folder)).startswith("HeadDecomposer on gpt, mean over 6 prompts")


def test_a_notebook_shows_the_same(tmp_path):
    html = load(tmp_path / "s")._repr_html_()
    for cell in ("L0H0", "-3.0000", "[+1.4252, +2.5748]", "largest gap", "mean over 6 prompts", "background:#d55e00"):
        assert cell in html
    assert ">group</th>" in load(tmp_path / "t", "prompt")._repr_html_()


def test_a_comparison_shows_both(tmp_path):
    first, second = load(tmp_path / "s"), dla.Summary.load(write_folder(tmp_path / "t", corpus(6), VALUES + 1))
    comparison = first.compare(second)
    table = rows(str(comparison))
    assert table["embed"][:3] == ["+2.0000", "+3.0000", "-1.0000 ±0.0000"]
    assert table["sum of the parts"][2] == "-5.0000 ±0.0000"
    assert str(comparison).startswith("HeadDecomposer on a model, 6 pairs")
    assert "-1.0000 ±0.0000" in comparison._repr_html_()
    other = write_folder(tmp_path / "u", corpus(6), VALUES, model={"name": "gpt2", "weights": "1"})
    assert "HeadDecomposer on a model minus HeadDecomposer on gpt2" in str(first.compare(dla.Summary.load(other)))


def test_tables_fit_a_terminal_of_80_columns(tmp_path):
    from rich.console import Console

    labels = tuple(f"L{layer}H{head}" for layer in range(10, 12) for head in range(10, 12))
    folder = write_folder(tmp_path / "s", corpus(90), 10 * drawn(90, labels), labels=labels)
    console = Console(width=80, no_color=True)
    for by in (None, "order", ["order", "length"]):
        summary = dla.Summary.load(folder, by)
        for shown in (summary, summary.compare(summary)):
            with console.capture() as capture:
                console.print(shown)
            assert "…" not in capture.get(), capture.get()


def test_heads_are_drawn_as_a_map(tmp_path):
    figure = load(tmp_path / "s").select(kind="head").plot().to_dict()
    (trace,) = figure["data"]
    assert (trace["type"], trace["z"]) == ("heatmap", [[-3.0, 2.0], [0.25, None]])
    assert trace["hovertext"][0][1] == "L0H1 +2.0000 [+2.0000, +2.0000]"
    assert (trace["zmin"], trace["zmax"]) == (-3.0, 3.0)
    assert "mean over 6 prompts" in figure["layout"]["title"]["text"]


def test_other_parts_and_groups_are_drawn_as_bars_with_intervals(tmp_path):
    summary = load(tmp_path / "s", "order", n=40)
    traces = summary.plot().to_dict()["data"]
    assert [trace["name"] for trace in traces] == ["ABBA", "BABA"]
    assert "by order" not in summary.plot.svg()
    for trace in traces:
        frame = summary.group(trace["name"]).to_dataframe()
        assert list(trace["x"]) == list(LABELS)
        np.testing.assert_allclose(trace["y"], frame["mean"])
        np.testing.assert_allclose(trace["error_y"]["array"], frame["high"] - frame["mean"])
        np.testing.assert_allclose(trace["error_y"]["arrayminus"], frame["mean"] - frame["low"])
    few = summary.plot.bars(shown=2).to_dict()
    means = summary.overall().to_dataframe().set_index("part")["mean"]
    assert {*few["data"][0]["x"]} <= {*means.index}
    assert len(few["data"][0]["x"]) == 2
    assert f"{len(LABELS) - 2} weaker parts are not drawn" in few["layout"]["title"]["text"]


def test_mlps_stand_beside_heads_and_the_rest_is_told(tmp_path):
    summary = load(tmp_path / "s", n=40)
    frame = summary.to_dataframe().set_index("part")
    figure = summary.plot().to_dict()
    (cells,) = figure["data"]
    hovered = [text for row in cells["hovertext"] for text in row]
    for label, row in frame.iterrows():
        if row["kind"] in ("head", "mlp_out"):
            column = -1 if row["kind"] == "mlp_out" else row["head"]
            assert cells["z"][row["layer"]][column] == pytest.approx(row["mean"])
            assert f"{label} {row['mean']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]" in hovered
    rest = frame[~frame["kind"].isin(["head", "mlp_out"])]
    assert f"{len(rest)} other rows, which sum to {rest['mean'].sum():+.4f}" in figure["layout"]["title"]["text"]
    svg = summary.plot.svg()
    ElementTree.fromstring(svg)
    assert f"L0H1 {frame['mean']['L0H1']:+.4f}" in svg
    blocks = summary.select("embed")
    assert [trace["type"] for trace in blocks.plot().to_dict()["data"]] == ["bar"]
    assert "rows not selected" in blocks.plot.svg()
    with pytest.raises(ValueError, match="No row is a head, so there is no map of heads"):
        blocks.plot.heads()
    assert repr(summary.plot) == "SummaryPlots(call it, or heads, bars, svg)"


def test_differences_of_sweeps_are_drawn(tmp_path):
    first, second = load(tmp_path / "a", n=40), load(tmp_path / "b", n=40)
    found = first.compare(second)
    (cells,) = found.plot().to_dict()["data"]
    assert cells["z"][0][1] == pytest.approx(found.to_dataframe().set_index("part")["mean"]["L0H1"])
    assert "40 pairs" in found.plot.bars().to_dict()["layout"]["title"]["text"]


def test_a_plot_without_plotly(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(
        dla.MissingPackageError, match=r"needs plotly, which is not installed: pip install 'dla\[plot\]'"
    ):
        load(tmp_path / "s").plot()


def test_a_line_at_a_prompt_and_a_table_in_a_notebook(tmp_path):
    summary = load(tmp_path / "s", by="order")
    (example,) = summary.top_prompts("embed", 1)
    folder = dla.open_sweep(tmp_path / "s")
    shown = {
        summary: r"Summary\(.*, mean over 6 prompts, by order, 5 parts\)$",
        summary.compare(summary): r"Comparison\(.*, 6 prompts of both, 5 parts\)$",
        example: r"ExtremePrompt\(row [0-9]+, \+[0-9.]+: 'prompt [0-9]+ of corpus 0', ' \w+' - ' Tom'\)$",
        folder: r"SweepFolder\(path .*s, decomposer .*, parts 5, prompts 6, rejected 0, complete yes\)$",
    }
    for thing, pattern in shown.items():
        assert re.match(pattern, repr(thing)), repr(thing)
        html = thing._repr_html_()
        assert html.startswith("<table")
        assert "<script>" not in html
    long = dla.summaries.ExtremePrompt(3, 1.0, "<script>" + "word " * 400, 7, None)
    assert len(repr(long)) < 150
    assert "&lt;script&gt;" in long._repr_html_()

"""What plots show is what results hold: each number where its label says, signs in their colours."""

import html
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.io
import pytest
import torch
from subjects import GPT2, some_tokens

import dla
from dla.testing.models import PROMPT
from dla.views.palette import DARK, GROUPS, NEGATIVE, NEUTRAL, POSITIVE
from dla.views.plots.base import named_points, names_axis
from dla.views.plots.head_map import head_grid
from dla.views.plots.scatter import effects_scatter
from dla.views.text import as_label

DIFFERENCE = dla.LogitDifference(" Mary", " John")


def attribution(decomposer: dla.Decomposer | None = None, prompts: object = PROMPT, **options: object):
    return dla.Attributor(GPT2.model(), decomposer or dla.HeadDecomposer()).attribute(prompts, DIFFERENCE, **options)


def data(figure):
    return figure.to_dict()["data"]


def test_the_map_has_layer_0_on_top_and_every_head_in_its_place():
    result = attribution()
    figure = result.plot().to_dict()
    (cells,) = figure["data"]
    for label, value in zip(result.parts, result.values[:, 0].tolist(), strict=True):
        if label.kind == "head":
            assert cells["z"][label.layer][label.index] == pytest.approx(value)
        elif label.kind == "mlp_out":
            assert cells["z"][label.layer][-1] == pytest.approx(value)
    assert figure["layout"]["yaxis"]["autorange"] == "reversed"
    assert (cells["zmin"], cells["colorscale"][0]) == (-cells["zmax"], [0.0, NEGATIVE])
    for marks, row in zip(cells["text"], cells["z"], strict=True):
        for mark, value in zip(marks, row, strict=True):
            assert mark == ("" if abs(value) <= 0.15 * cells["zmax"] else "▲" if value > 0 else "▼")
    assert cells["colorscale"][-1] == [1.0, POSITIVE]
    assert [colour[-3:] for share, colour in cells["colorscale"] if share == 0.5] == [",0)", ",0)"]
    drawn = [i for i, part in enumerate(result.parts) if part.kind in ("head", "mlp_out")]
    rest = float(result.values.sum()) - float(result.values[drawn].sum())
    assert f"{len(result.parts) - len(drawn)} other rows, which sum to {rest:+.4f}" in figure["layout"]["title"]["text"]


def test_a_waterfall_goes_from_the_constant_to_the_logit():
    result = attribution()
    for shown in (3, 100):
        (steps,) = data(result.plot.waterfall(shown))
        assert steps["measure"][0] == "absolute"
        assert steps["x"][0] == pytest.approx(float(result.constant))
        assert sum(steps["x"][:-1]) == pytest.approx(steps["x"][-1], abs=1e-4)
        assert steps["x"][-1] == pytest.approx(float(result.logit))
    names = result.select(kind="head").plot.waterfall(100).to_dict()["layout"]["yaxis"]["ticktext"]
    assert names[-2] == "rows not selected"


def test_the_stream_over_depth_ends_at_the_logit():
    lens = attribution(dla.LensDecomposer())
    result = attribution(dla.LayerDecomposer())
    stream, read = data(result.plot.depth(lens))
    logit = float(result.logit)
    assert stream["y"][-1] == pytest.approx(logit, abs=1e-4)
    assert read["y"][-1] == pytest.approx(logit, abs=1e-4)
    assert list(stream["x"]) == result.labels
    (added,) = data(attribution(dla.ComponentDecomposer()).plot.depth())
    assert added["y"][-1] == pytest.approx(logit, abs=1e-4)


def test_the_sources_of_a_head_lie_on_the_prompt():
    result = (
        attribution().refine("L1H1", by=dla.SourceDecomposer(layers=[1])).select(where=lambda p: p.head is not None)
    )
    (cells,) = data(result.plot.sources("L1H1"))
    values = [value for row in cells["z"] for value in row if value is not None]
    rows = {label.source: float(v) for label, v in zip(result.parts, result.values[:, 0], strict=True)}
    assert values == pytest.approx([rows[i] for i in range(len(values))])
    words = [word for row in cells["text"] for word in row if word]
    assert words == [as_label(token.strip()) for token in result.tokens[0][: len(words)]]
    with pytest.raises(ValueError, match=r"no sources of 'L0H0'. Split one first: result.refine\('L0H0', by=dla.Sour"):
        result.plot.sources("L0H0")


def test_a_map_of_positions_tells_equal_tokens_apart():
    result = attribution(pos=None)
    figure = result.plot().to_dict()
    (cells,) = figure["data"]
    label = result.labels.index("L1H1")
    rows = figure["layout"]["yaxis"]["ticktext"]
    assert cells["z"][rows.index("L1H1")] == pytest.approx(result.values[label, 0].tolist())
    names = figure["layout"]["xaxis"]["ticktext"]
    assert len(set(names)) == len(names) == len(result.tokens[0])
    assert names[1] == f"1 {result.tokens[0][1]!r}"
    (strip,) = data(result.plot.tokens("L1H1"))
    assert strip["z"][0][:12] == pytest.approx(result.values[label, 0, :12].tolist())
    with pytest.raises(ValueError, match="A text is that of one prompt"):
        attribution(prompts=[PROMPT, PROMPT], pos=None).plot.tokens()
    with pytest.raises(ValueError, match="There is no part 'L9H9'"):
        result.plot.tokens("L9H9")


def test_rows_are_drawn_that_are_large_in_any_direction():
    asked = {"little": dla.Logit(5), "much": dla.Logit(6)}
    result = dla.Attributor(GPT2.model(), dla.HeadDecomposer()).attribute(PROMPT, asked)
    values = result.values.clone()
    values[3, 1] = 1e3
    figure = replace(result, values=values).plot.positions(1).to_dict()
    assert list(figure["layout"]["yaxis"]["ticktext"]) == [result.labels[3]]


def test_ranked_bars_show_both_ends_and_the_sum_between():
    result = attribution(dla.NeuronDecomposer())
    figure = result.plot.ranked(5).to_dict()
    (bars,) = figure["data"]
    assert list(bars["x"]) == pytest.approx([value for _, value in (*result.top(5), *result.bottom(5)[::-1])])
    assert bars["marker"]["color"][0] == POSITIVE
    assert bars["marker"]["color"][-1] == NEGATIVE
    assert f"{len(result.parts) - 10} rows between" in figure["layout"]["title"]["text"]
    assert [trace["type"] for trace in data(result.plot())] == ["bar"]


def test_two_results_and_their_difference():
    one, other = attribution(), attribution(prompts=PROMPT.replace("Mary", "Tom"))
    first, second, difference = data(one.plot.compare(other, 4))
    assert list(difference["x"]) == pytest.approx([a - b for a, b in zip(first["x"], second["x"], strict=True)])
    assert difference["name"].startswith("first - second")
    gaps = (one.values - other.values).abs().flatten().sort(descending=True).values[:4]
    assert [abs(x) for x in difference["x"]] == pytest.approx(gaps.tolist(), rel=1e-4)
    with pytest.raises(ValueError, match="no row in common"):
        one.plot.compare(attribution(dla.LayerDecomposer()).select("0_pre"))


def test_effects_are_points_and_equal_ones_lie_on_the_line():
    frame = attribution().direct_effects().to_dataframe()
    (points,) = data(effects_scatter("effects", frame))
    assert list(points["x"]) == pytest.approx(frame["value"].tolist())
    assert list(points["y"]) == pytest.approx(frame["direct_effect"].tolist())
    (same,) = data(attribution().direct_effects().plot())
    assert same["y"] == points["y"]
    frame["measured_effect"] = frame["direct_effect"] + 1
    (points,) = data(effects_scatter("effects", frame))
    assert list(points["y"]) == pytest.approx((frame["direct_effect"] + 1).tolist())
    with pytest.raises(ValueError, match=r"A scatter needs two of .* the frame has \['value'\]"):
        effects_scatter("effects", pd.DataFrame({"part": ["a"], "value": [1.0]}))


def test_plots_of_means_say_so_as_the_table_does():
    result = attribution(prompts=[PROMPT, "When Mary"], pos=None)
    said = f"mean over {int((result.positions >= 0).sum())} positions of 2 prompts"
    assert said in " ".join(str(result).split())
    plots = result.plot
    for figure in (plots.heads(), plots.waterfall(), plots.ranked(), plots.depth(), plots.compare(result)):
        assert said in re.sub(r"(</sub>)?<br>(<sub>)?", " ", figure.to_dict()["layout"]["title"]["text"])
    assert said in plots.svg()
    assert said in result.select(kind="mlp_out").plot.svg()
    assert "mean" not in plots.positions().to_dict()["layout"]["title"]["text"]
    assert "mean" not in attribution().plot.svg()


def test_what_cannot_be_drawn_says_what_to_do():
    several = dla.Attributor(GPT2.model(), dla.HeadDecomposer()).attribute(
        PROMPT, {"a": dla.Logit(5), "b": dla.Logit(6)}
    )
    with pytest.raises(ValueError, match=r"one direction at a time: result.direction\('a'\).plot"):
        several.plot.heads()
    (cells,) = data(several.plot())
    assert np.array(cells["z"]).shape == (len(several.parts), 2)
    with pytest.raises(ValueError, match="No row is a head"):
        attribution(dla.BlockDecomposer()).plot.heads()
    with pytest.raises(ValueError, match="do not add up, so there are no steps"):
        attribution(dla.LayerDecomposer()).plot.waterfall()
    with pytest.raises(ValueError, match=r"needs all rows, and those that were not selected sum to .*plot.waterfall"):
        attribution().select("L1H1").plot.depth()
    with pytest.raises(ValueError, match=r"which are not among the rows. Draw it beside a result of LayerDecomposer"):
        attribution().plot.depth(attribution(dla.LensDecomposer()))
    with pytest.raises(ValueError, match=r"no sources of any head. Split one first: result.refine\('L9H6', by="):
        attribution().plot.sources()
    for ask, what in ((attribution().plot.depth, "lens"), (attribution().plot.compare, "other")):
        with pytest.raises(TypeError, match=f"{what} is 3. Pass what attributor.attribute"):
            ask(3)
    assert repr(several.plot).startswith("ResultPlots(call it, or heads, waterfall, depth")


def test_many_heads_rows_and_places_stay_sensible():
    parts = [dla.Label("head", layer, head) for layer in range(80) for head in range(64)]
    values, _, columns = head_grid(parts, np.arange(80.0 * 64))
    assert values.shape == (80, 64)
    assert len(names_axis(columns)["ticktext"]) <= 32
    short = attribution(prompts=some_tokens(3, 2), pos=None)
    assert short.plot().to_dict()["data"][0]["type"] == "heatmap"


def test_a_result_with_nan_and_one_of_one_row_are_drawn():
    result = attribution()
    holed = replace(result, values=result.values.masked_fill(torch.arange(len(result.parts))[:, None] == 3, torch.nan))
    for one in (holed, result.select("embed"), result.select("L0H0")):
        for plot in (one.plot, one.plot.waterfall, one.plot.ranked, one.plot.positions):
            assert data(plot())
    ranked = holed.plot.ranked(3).to_dict()
    assert "rows that are NaN, and not drawn: 1" in ranked["layout"]["title"]["text"]
    (bars,) = data(holed.plot.ranked(100))
    assert len(bars["x"]) == len(result.parts) - 1
    assert result.labels[3] not in holed.plot.ranked(100).to_dict()["layout"]["yaxis"]["ticktext"]


def test_measured_effects_are_drawn_against_direct_ones():
    effects = attribution().effects(parts=["L1H1", "L0H0", "1_mlp_out"])
    (points,) = data(effects.plot())
    frame = effects.to_dataframe()
    assert list(points["x"]) == pytest.approx(frame["direct_effect"].tolist())
    assert list(points["y"]) == pytest.approx(frame["measured_effect"].tolist())


def luminance(colour):
    """Source: WCAG 2.2, "relative luminance"."""
    shares = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return float(
        np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)
    )


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("ground", ["#ffffff", DARK])
def test_each_colour_is_seen_on_white_and_in_the_dark(ground):
    for colour in (POSITIVE, NEGATIVE, NEUTRAL, *GROUPS):
        assert contrast(colour, ground) >= 3


def test_a_figure_has_a_light_and_a_dark_look(monkeypatch):
    figure = attribution().plot()
    assert figure.layout.template.layout.paper_bgcolor == "#ffffff"
    figure.update_layout(template="dla_dark")
    look = figure.layout.template.layout
    assert look.paper_bgcolor == look.plot_bgcolor == DARK
    for own in (look, figure.layout.template.data.heatmap[0].textfont):
        assert contrast(own.font.color if own is look else own.color, DARK) >= 4.5
    assert all(contrast(colour, DARK) >= 3 for colour in look.colorway)
    monkeypatch.setattr(plotly.io.templates, "default", "plotly_dark")
    assert attribution().plot().layout.template.layout.paper_bgcolor == DARK


def test_a_long_title_is_broken_and_has_its_room():
    asked = dla.mean([dla.LogitDifference(" Mary", " John"), dla.LogitDifference(" Tom", " John")]) - dla.Logit(" the")
    result = dla.Attributor(GPT2.model(), dla.HeadDecomposer()).attribute(PROMPT, asked)
    figure, short = result.plot().to_dict()["layout"], attribution().plot().to_dict()["layout"]
    lines = figure["title"]["text"].split("<br>")
    assert len(lines) > len(short["title"]["text"].split("<br>"))
    assert all(len(re.sub("<[^>]*>", "", line)) <= 92 for line in lines)
    assert figure["margin"]["t"] > short["margin"]["t"]
    assert figure["height"] - figure["margin"]["t"] == short["height"] - short["margin"]["t"]
    lines = re.findall('x="10.0"[^>]*>([^<]*)</text>', result.plot.svg())
    assert len(lines) > 1
    assert all(len(html.unescape(line)) < 60 for line in lines)


def test_a_logit_traced_back_lies_on_the_prompt():
    result = attribution().trace_back()
    (cells,) = data(result.plot())
    values = [value for row in cells["z"] for value in row if value is not None]
    frame = result.to_dataframe()
    sums = [float(frame[frame["part"].str.contains(f"← {i} ")]["value"].sum()) for i in range(len(values))]
    assert len(values) == len(result.tokens[0])
    assert values == pytest.approx(sums, abs=1e-5)
    assert "1 rows of no token" in result.plot().to_dict()["layout"]["title"]["text"]


def test_effects_through_all_paths_by_part_and_position():
    totals = dla.total_effects(attribution())
    figure = totals.plot(5).to_dict()
    (cells,) = figure["data"]
    for label, values in zip(figure["layout"]["yaxis"]["ticktext"], cells["z"], strict=True):
        assert values == pytest.approx(totals.total[totals.labels.index(label), 0].tolist(), abs=1e-6)
    assert totals.top(1)[0][0] in figure["layout"]["yaxis"]["ticktext"]
    assert f"{len(totals.parts) - 5} weaker rows are not drawn" in figure["layout"]["title"]["text"]


def test_a_graph_has_its_nodes_at_their_positions_and_lines_between_them():
    graph = dla.graph(attribution())
    figure = graph.plot().to_dict()
    *lines, points = figure["data"]
    there = [node for node in graph.nodes if node.position is not None]
    assert [round(x) for x in points["x"]] == [node.position for node in there]
    assert points["y"][0] == max(points["y"])
    for node, colour, told in zip(there, points["marker"]["color"], points["hovertext"], strict=True):
        assert colour == (POSITIVE if node.value > 0 else NEGATIVE)
        assert as_label(f"{node.value:+.4f}") in told or abs(node.value) < 5e-4
    numbers = [i for i, node in enumerate(graph.nodes) if node.position is not None]
    places = dict(zip(numbers, zip(points["x"], points["y"], strict=True), strict=True))
    among = sorted((e for e in graph.edges if {e.source, e.target} <= {*places}), key=lambda e: -abs(e.value))[:200]
    drawn = {
        ((x[k], y[k]), (x[k + 1], y[k + 1]), line["line"]["color"])
        for line in lines
        for x, y in [(line["x"], line["y"])]
        for k in range(0, len(x), 3)
    }
    assert drawn == {(places[e.source], places[e.target], POSITIVE if e.value > 0 else NEGATIVE) for e in among}
    for name in ("biases", "pruned"):
        assert f"{name}: " in figure["layout"]["title"]["text"]


def test_shares_and_differences_are_drawn():
    shares = attribution().group_by("layer").shares()
    (points,) = data(shares.plot())
    assert list(points["x"]) == pytest.approx(shares.values[:, 0].tolist())
    assert list(points["y"]) == pytest.approx(shares.shares[:, 0].tolist())
    found = dla.compare(attribution(), attribution(prompts=PROMPT.replace("Mary", "Tom")))
    first, second, difference = data(found.plot(3))
    assert [a - b for a, b in zip(first["x"], second["x"], strict=True)] == pytest.approx(list(difference["x"]))
    assert [abs(x) for x in difference["x"]] == pytest.approx([abs(value) for _, value in found.top(3)])
    written, read, _ = data(found.split().plot(3))
    assert [a + b for a, b in zip(written["x"], read["x"], strict=True)] == pytest.approx(
        list(difference["x"]), abs=1e-5
    )


def test_names_of_points_do_not_meet():
    x, y = np.array([0.0, 0.001, 1.0]), np.array([0.0, 0.0, 1.0])
    assert named_points([1, 0, 2], ["a name", "another name", "far away"], x, y) == {1, 2}

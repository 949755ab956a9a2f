"""Pages of any size without a model, for what depends on size and on odd texts."""

from collections.abc import Sequence

import numpy as np

from dla.labels import Label
from dla.views.page.page_data import HeadSources, PageData

HOSTILE = (
    *("</script><script>window.stolen = 1</script>", "<img src=x onerror='window.stolen = 1'>", "<!--", "&amp;"),
    *("\x1b[31mred\x1b[0m", "\x1b]8;;https://x.y\x07", "[bold]", "\u202ereversed", "a\x00b", "\ud800", "\u2028", "$x$"),
    *(
        "${window.stolen = 1}",
        "javascript:alert(1)",
        "שלום",
        "مرحبا",
        "🏳️‍🌈",
        "👩‍👩‍👧",
        "e\u0301",
        "\ufffd",
        "日本",
        "",
        " ",
        "\n",
    ),
)


def sample_page(
    layers: int, heads: int, tokens: Sequence[str], sources: int = 0, places: int = 1, title: str = "a logit"
) -> PageData:
    """A page of heads with random values."""
    random = np.random.default_rng(0)
    parts = [Label("embed"), *(Label("head", layer, head) for layer in range(layers) for head in range(heads))]
    parts += [Label("mlp_out", layer) for layer in range(layers)]
    values = random.standard_normal((1, places, len(parts)))
    total, constant = values.sum(-1), np.full((1, places), 0.25)
    sums = {"total": total, "constant": constant, "logit": total + constant}
    strongest = [i for i in np.argsort(-np.abs(values).max((0, 1))).tolist() if parts[i].kind == "head"][:sources]
    shape = 1, len(strongest), places
    read = HeadSources(tuple(strongest), random.standard_normal((*shape, len(tokens))), np.zeros(shape))
    return PageData(
        title=title,
        subtitle="drawn at random",
        about=[("model", "none")],
        parts=parts,
        directions=[title],
        places=[(0, len(tokens) - places + i) for i in range(places)],
        prompts=[list(tokens)],
        means=values.mean(1),
        values=values,
        rows=None,
        sums={**sums, "gap": np.zeros((1, places)), "tolerance": np.full((1, places), 1e-5)},
        additive=True,
        sources=read if sources else None,
    )

"""Attention heads by the token that they read, or by the span of the prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from dla.adapters.anatomy import Heads, PieceKind, Sublayer
from dla.adapters.base import ModelAdapter
from dla.decomposers.base import Decomposer
from dla.decomposers.plans import Entry, Item, PromptReduction
from dla.decomposers.spans import SPAN, span_reduction
from dla.decomposers.splitting import Layers, read_layers, split_sublayers
from dla.inputs.prompts import Prompts
from dla.inputs.spans import REST, SpanPlaces, Spans, locator, read_spans
from dla.labels import Label
from dla.writes import Sources


@final
@dataclass(frozen=True)
class SourceDecomposer(Decomposer):
    """One part for each attention head and token that it reads, `L9H6 ← 3 ' Mary'`, and one for everything else.

    A head moves `Σ_s pattern[q, s] v[s]` to the position where it writes. Each summand is a part, and so is the head's
    value bias, `L9H6 ← b_V`, in models that have one (compatibility mode folds it into `b_O`). A token after the
    attributed position is not read, and has 0. The label names the token where all prompts have the same one.

    With `spans` there is one part for each head and span, `L9H6 ← subject`, and one for all other tokens,
    `L9H6 ← rest`, among them BOS; the sums are made before anything is stored. Where the same span is at other
    positions in each prompt, it still is one row.

    Attributes:
        layers: The layers whose attention is split; None for all.
        spans: Spans of the prompt by name, each a text of it (`{"subject": " Eiffel Tower"}`), a `Span` where the
            prompt has the text several times, or positions (one, a range, a slice, a list); or a list with one of
            these for each prompt, None where it has none. Only names, `["subject"]`, are the columns of a corpus that
            is swept. None for a part for each token.

    Raises:
        TypeError: If a span is none of these.
        ValueError: If no span is given, or its name is that of another row. When prompts are asked: if a span is not
            in its prompt, is there several times, cuts a token, or overlaps another.

    Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
    """

    layers: Layers = None
    spans: Spans | None = None

    def __post_init__(self) -> None:
        read_layers(self.layers)
        if self.spans is not None:
            read_spans(self.spans)

    def writes(self, model: ModelAdapter) -> Sequence[Item]:
        """The plan.

        Raises:
            ValueError: If the model has no such layer.
            UnsupportedModelError: If a layer that was named has no heads whose sources are known.
        """
        return list(
            split_sublayers(model, self.layers, partial(_sources, spans=_Located.of(self.spans)), PieceKind.SOURCES)
        )


@final
@dataclass(frozen=True, eq=False)
class _Located:
    """The spans of a decomposer.

    Attributes:
        rows: The names of its rows.
        located: Finds them in prompts.
        of_sources: Makes their rows of those of single sources.
    """

    rows: tuple[str, ...]
    located: Callable[[Prompts], SpanPlaces]
    of_sources: PromptReduction

    @staticmethod
    def of(spans: Spans | None) -> "_Located | None":
        return None if spans is None else _Located((*read_spans(spans), REST), locator(spans), span_reduction(spans))


def _sources(sublayer: Sublayer, spans: _Located | None) -> Sequence[Item] | None:
    heads = sublayer.heads
    if heads is None or heads.values is None:
        return None
    if spans is None:
        sources = Entry(heads.label, lambda prompts: sources_of(heads, prompts))
    else:
        labels = tuple(_span_labels(heads, spans.rows))
        write = partial(_spans_of, heads, labels, spans.located)
        sources = Entry(heads.label, write, labels=labels, of_finer=spans.of_sources)
    return [sources, *heads.biases(), *heads.values.rounding]


def sources_of(heads: Heads, prompts: Prompts) -> Sources:
    """What the heads read at each position of some prompts; the heads' values must be known."""
    assert heads.values is not None
    texts, labels = [f" {token}" if token else "" for token in quoted_tokens(prompts)], heads.labels
    rows = [
        Label("source", head.layer, head.index, f"{head} ← {s}{text}", s, head)
        for head in labels
        for s, text in enumerate(texts)
    ]
    return _reading(heads, [*rows, *_bias_labels(heads)])


def _spans_of(
    heads: Heads, labels: Sequence[Label], located: Callable[[Prompts], SpanPlaces], prompts: Prompts
) -> Sources:
    members = located(prompts).members(prompts.tokens.shape[1])
    return _reading(heads, labels, torch.tensor(members, device="cpu"))


def _reading(heads: Heads, labels: Sequence[Label], spans: Int[Tensor, "batch source"] | None = None) -> Sources:
    assert heads.values is not None
    return Sources(heads.values.pattern, heads.values.v, heads.W_O, heads.values.b_V, labels, heads.route, spans)


def _span_labels(heads: Heads, names: Sequence[str]) -> list[Label]:
    rows = [
        Label(SPAN, head.layer, head.index, f"{head} ← {name}", parent=head) for head in heads.labels for name in names
    ]
    return [*rows, *_bias_labels(heads)]


def _bias_labels(heads: Heads) -> list[Label]:
    assert heads.values is not None
    there = [] if heads.values.b_V is None else heads.labels
    return [Label("b_V", head.layer, head.index, f"{head} ← b_V", parent=head) for head in there]


def quoted_tokens(prompts: Prompts) -> list[str]:
    """The token at each position, quoted; empty where the prompts differ."""
    found: list[set[str]] = [set() for _ in range(prompts.tokens.shape[1])]
    for texts in prompts.texts():
        for seen, text in zip(found, texts, strict=False):  # a short prompt has no token at the last positions
            seen.add(text)
    return [repr(seen.pop()) if len(seen) == 1 else "" for seen in found]

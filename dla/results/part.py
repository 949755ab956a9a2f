"""The writer's view: which tokens one part pushes up and down."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

import torch
from jaxtyping import Float
from rich.console import Console, ConsoleOptions
from rich.table import Table
from torch import Tensor

from dla.decomposers.base import Decomposer
from dla.inputs.arguments import check_fields
from dla.inputs.given import Count, count
from dla.labels import Label
from dla.results.attention import Pos, attention_score
from dla.results.attention_score import AttentionScore
from dla.results.rerun import Rerun
from dla.text import as_text
from dla.views.brief import listed, mean_of
from dla.views.dataset import frame_of_columns
from dla.views.document import document, strict_json
from dla.views.grid import Grid, printed, signed

if TYPE_CHECKING:
    import pandas

_SLICE = 8192
"""How many tokens of the vocabulary are looked at together."""


@final
@dataclass(frozen=True)
class TokenEffects:
    """What `Part.top_tokens` found; prints as a table.

    Attributes:
        part: The part's label.
        up: The tokens whose logits it raises most, `(token, logits)`, the strongest first.
        down: Those it lowers most.
        up_ids: The ids of the tokens in `up`.
        down_ids: The ids of those in `down`.
    """

    part: str
    up: tuple[tuple[str, float], ...]
    down: tuple[tuple[str, float], ...]
    up_ids: tuple[int, ...] = ()
    down_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_fields(self, part=str, up=tuple, down=tuple, up_ids=tuple, down_ids=tuple)

    def to_dataframe(self) -> "pandas.DataFrame":
        """One row for each token: its id, its text, and what the part adds to its logit."""
        named = [*self.up, *self.down]
        texts, values = [text for text, _ in named], [value for _, value in named]
        return frame_of_columns({"id": [*self.up_ids, *self.down_ids], "token": texts, "logits": values})

    def to_json(self) -> str:
        """The tokens as strict JSON; see `Attribution.to_json`."""
        ends = (("up", self.up, self.up_ids), ("down", self.down, self.down_ids))
        listed_ends = {
            end: [
                {"token": text, "id": ids[i] if i < len(ids) else None, "value": value}
                for i, (text, value) in enumerate(several)
            ]
            for end, several, ids in ends
        }
        return strict_json(document("top_tokens", part=self.part, **listed_ends))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        yield self._grid().rich(options.max_width)

    def __str__(self) -> str:
        return printed(self)

    def __repr__(self) -> str:
        return f"TokenEffects({as_text(self.part)}, up: {listed(self.up)}; down: {listed(self.down)})"

    def _repr_html_(self) -> str:
        return self._grid().html()

    def _grid(self) -> Grid:
        pairs = zip(self.up, self.down, strict=True)
        rows = [(repr(up), signed(more), repr(down), signed(less)) for (up, more), (down, less) in pairs]
        header = ("up", "logits", "down", "logits")
        return Grid.of_rows(f"The tokens that {self.part} pushes most", header, rows, words=["down"])


@final
@dataclass(frozen=True, eq=False)
class Part:
    """One part of an attribution.

    Attributes:
        label: Its label.
        values: What it contributes, in logits.
        rerun: Where it comes from; None in a result read from a file.
    """

    label: Label
    values: Float[Tensor, "*direction_batch_and_pos"]
    rerun: Rerun | None = field(repr=False)

    def __post_init__(self) -> None:
        check_fields(self, label=Label, values=Tensor, rerun=(Rerun, type(None)))

    def __repr__(self) -> str:
        return f"Part({as_text(str(self.label))}, logits {mean_of(self.values)})"

    def _repr_html_(self) -> str:
        rows = [(str(label), label.kind) for label in self.label.path()]
        return Grid.of_rows(f"{self.label}: {mean_of(self.values)} logits", ("part", "kind"), rows).html()

    def vector(self) -> Float[Tensor, "batch query d_model"]:
        """What the part adds to the stream that enters the final norm, for each prompt and position asked about.

        A row of `LensDecomposer` is no part of that stream: its vector is the stream there, divided by its own scale.

        Raises:
            ValueError: If the result was read from a file.
            RunChangedError: If the model does not run any more as it ran for the result: under other hooks, or with
                other weights.
        """
        return self._rerun().vector(self.label, self.values)

    def top_tokens(self, k: Count = 5) -> TokenEffects:
        """The tokens whose logits the part pushes up and down most, on average over prompts and positions.

        Its vector is read through the final norm, with the scale that it has in this run (the row of a lens with its
        own), and the unembedding, a slice of the vocabulary at a time. Each number is the value that `Logit(token)`
        attributes to this part.

        Args:
            k: How many of each.

        Raises:
            TypeError: If `k` is not a whole number.
            ValueError: If `k` is less than one, or the result was read from a file, or is about a place before the
                end of the stream.
            RunChangedError: As `vector`.
        """
        k, rerun = count(k, "k", "token"), self._rerun()
        check_is_read(rerun)
        return token_effects(self.label, self.vector(), rerun, k)

    def attention(self, query: Pos, key: Pos, *, by: Decomposer | None = None) -> AttentionScore:
        """Who told this head to look from one position at another: its score before the softmax, in pairs of parts.

        One more run of the model; the score is what the model's own hook shows, apart from the pairs.

        Args:
            query: The position that looks; -1 is each prompt's last token.
            key: The position that it looks at.
            by: What the query and the key are split into; None for heads, MLPs and embeddings.

        Raises:
            ReconstructionError: If the pairs do not add up to the score.
            RunChangedError: As `vector`.
            TypeError: If a position is no whole number, or `by` no decomposer.
            UnsupportedModelError: If it is not known what the scores are made of; says why.
            ValueError: If the part is no head, a prompt has no such position, the head does not look there, the rows of
                the decomposer do not add up, or the result was read from a file.
        """
        return attention_score(self._rerun(), self.label, query, key, by)

    def _rerun(self) -> Rerun:
        if self.rerun is None:
            raise ValueError(
                f"To see what {str(self.label)!r} writes the model is run again, and this result was read from a file "
                "or a pickle. Attribute again."
            )
        return self.rerun


def check_is_read(rerun: Rerun) -> None:
    """Checks that what parts write is read by the unembedding.

    Raises:
        ValueError: If it is not: the result is about an earlier place of the stream.
    """
    if rerun.query.at is not None:
        raise ValueError(
            f"What is written to {rerun.query.at!r} is not read by the unembedding. Ask about a token to see "
            "which tokens a part pushes."
        )


def token_effects(label: Label, vector: Float[Tensor, "batch query d_model"], rerun: Rerun, k: int) -> TokenEffects:
    """The tokens that a part pushes most.

    Args:
        label: The part.
        vector: What it writes.
        rerun: Where it comes from.
        k: How many tokens at either end.
    """
    effects = _effects(vector, rerun)
    k = min(k, len(effects))
    up, down = effects.topk(k), effects.topk(k, largest=False)
    ids = (tuple(end.indices.tolist()) for end in (up, down))
    return TokenEffects(str(label), _named(up, rerun), _named(down, rerun), *ids)


def _effects(vector: Float[Tensor, "batch query d_model"], rerun: Rerun) -> Float[Tensor, " d_vocab"]:
    """What a part adds to each logit, on average: the readout is linear, so the mean may be read instead."""
    unembedding, valid = rerun.query.unembedding, rerun.query.positions.valid
    if unembedding.norm is not None:
        scale = rerun.frozen_scale()
        assert scale is not None
        vector = unembedding.norm.push_forward(vector, scale)
    mean = vector[valid.to(vector.device)].mean(0) * unembedding.multiplier
    return torch.cat([mean @ W_U.to(mean) for W_U in unembedding.W_U.split(_SLICE, -1)])


def _named(best: tuple[Tensor, Tensor], rerun: Rerun) -> tuple[tuple[str, float], ...]:
    values, ids = (tensor.tolist() for tensor in best)
    return tuple((rerun.query.model.vocabulary.text(token), value) for token, value in zip(ids, values, strict=True))

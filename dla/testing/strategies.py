"""Hypothesis strategies for models, prompts, directions, positions and decomposers. They need hypothesis.

What fails is shown as small as it can be: one block, one head, one token, no switches, `Logit(0)`.

    @given(st.data())
    def test_rows_add_up(data):
        model = data.draw(models())
        tokens, direction = data.draw(prompts(model)), data.draw(directions(model))
        assert_reconstructs(dla.Attributor(model, dla.HeadDecomposer()).attribute(tokens, direction, pos=None))
"""

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

import dla
from dla.inputs.arguments import instance
from dla.inputs.given import count, items, shown
from dla.testing.models.drawn import FAMILIES, HOOKED_FAMILY, ModelConfig, Sizes
from dla.testing.subjects import LINE

_GROUPED = [(1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (6, 3)]
"""Heads, and heads with keys and values of their own."""

Draw = Callable[..., Any]
"""What `st.composite` hands to a function; its own protocol cannot be checked at run time."""

_FIRST_WORD = 4
"""The ids before it are special tokens."""


def model_configs(
    *,
    families: Collection[str] | None = None,
    max_layers: int = 3,
    processed: bool | None = None,
    dtypes: Sequence[torch.dtype] = (torch.float32,),
) -> st.SearchStrategy[ModelConfig]:
    """Models as values: `config.model()` builds one, `config.reference()` its logits without the library.

    Args:
        families: Which of `dla.testing.models.drawn.FAMILIES`, and "hooked" for `HookedTransformer`; None for all
            that the installed TransformerLens has.
        max_layers: The largest number of blocks.
        processed: Only raw models (False), only folded and centred ones (True), or both (None). Models in float64
            are raw: some do not run in compatibility mode.
        dtypes: The dtypes that parameters may have.

    Raises:
        ValueError: If there is no such family, or nothing to draw from.
    """
    named, dtypes = None if families is None else _listed(families, "families"), _listed(dtypes, "dtypes")
    if not all(isinstance(family, str) for family in named or ()):
        raise TypeError(f"families={shown(families)} are no names. Pass some of {list(FAMILIES)}.")
    if not all(isinstance(dtype, torch.dtype) and dtype.is_floating_point for dtype in dtypes):
        raise TypeError(f"dtypes={shown(dtypes)}. Pass dtypes of floating point numbers in a list.")
    max_layers = count(max_layers, "max_layers", "block")
    known = [*FAMILIES, *([HOOKED_FAMILY] if LINE < 4 else [])]
    chosen = known if named is None else [family for family in known if family in named]
    unknown = sorted(set(named or ()) - set(known))
    if unknown:
        raise ValueError(f"There is no family {unknown[0]!r} with TransformerLens {LINE}. Pass some of {known}.")
    if not chosen or not dtypes:
        raise ValueError("There is nothing to draw from: name at least one family and one dtype.")
    return _configs(tuple(chosen), max_layers, processed, tuple(dtypes))


@st.composite
def _configs(draw: Draw, families: Any, max_layers: int, processed: bool | None, dtypes: Any) -> ModelConfig:
    family = draw(st.sampled_from(families))
    heads, groups = draw(st.sampled_from(_GROUPED))
    layers, d_mlp = draw(st.integers(1, max_layers)), draw(st.integers(1, 24))
    sizes = Sizes(layers, heads, groups, 4 * draw(st.integers(1, 3)), d_mlp)
    dtype = draw(st.sampled_from(dtypes))
    raw = dtype == torch.float64 and family != HOOKED_FAMILY
    folded = draw(st.booleans()) if processed is None and not raw else bool(processed)
    switches = draw(_switches(sizes.d_head)) if family == HOOKED_FAMILY else {}
    return ModelConfig(family, sizes, folded, dtype, draw(st.integers(0, 2**16)), switches)


@st.composite
def _switches(draw: Draw, d_head: int) -> Mapping[str, Any]:
    """A configuration of `HookedTransformer`, within what the class can build."""
    switches: dict[str, Any] = {"normalization_type": draw(st.sampled_from(["LN", "LNPre", "RMS", "RMSPre", None]))}
    switches |= draw(st.sampled_from([{}, {"attn_only": True}, {"parallel_attn_mlp": True}]))
    switches |= draw(st.sampled_from([{}, {"use_attn_result": True}]))
    switches |= draw(st.sampled_from([{}, {"gated_mlp": True, "act_fn": "silu"}]))
    switches |= draw(st.sampled_from([{}, {"positional_embedding_type": "rotary", "rotary_dim": d_head}]))
    return switches


def models(configs: st.SearchStrategy[ModelConfig] | None = None) -> st.SearchStrategy[Any]:
    """Models: a `TransformerBridge`, raw or in compatibility mode, or a `HookedTransformer` where there is one.

    Args:
        configs: Of what kind, as `model_configs` makes it; None for any.
    """
    chosen = model_configs() if configs is None else instance(configs, st.SearchStrategy, "configs", "a strategy")
    return chosen.map(_quietly(lambda config: config.model()))


def prompts(model: Any, *, max_batch: int = 3, max_width: int = 9) -> st.SearchStrategy[Tensor]:
    """Prompts of one length, as token ids `[batch pos]`, none of them special.

    Args:
        model: The model that will read them.
        max_batch: The largest number of prompts.
        max_width: The largest number of tokens of each.

    Raises:
        ValueError: If there would be no prompt or no token.
    """
    max_batch, max_width = count(max_batch, "max_batch", "prompt"), count(max_width, "max_width", "token")
    size = dla.adapt(model).vocabulary.input_size
    token = st.integers(min(_FIRST_WORD, size - 1), size - 1)

    def batches(width: int) -> st.SearchStrategy[list[list[int]]]:
        return st.lists(st.lists(token, min_size=width, max_size=width), min_size=1, max_size=max_batch)

    return st.integers(1, max_width).flatmap(batches).map(torch.tensor)


def directions(model: Any) -> st.SearchStrategy[dla.Direction]:
    """Directions that may be asked of any prompt: tokens, differences, sets, vectors, sums of two.

    Args:
        model: The model that will be asked.
    """
    adapter = dla.adapt(model)
    width, token = adapter.anatomy.unembedding.W_U.shape[0], st.integers(0, adapter.vocabulary.size - 1)
    several, seeds = st.lists(token, min_size=1, max_size=4), st.integers(0, 2**16)
    plain = st.one_of(
        st.builds(_quietly(dla.Logit), token),
        st.builds(_quietly(dla.LogitDifference), token, token),
        st.builds(_quietly(dla.LogitSet), several),
        st.builds(_quietly(dla.CentredLogit), token),
        st.builds(_quietly(lambda seed: dla.ResidualVector(_vector(width, seed))), seeds),
    )
    factor = st.sampled_from([1.0, -1.0, 0.5])
    return st.one_of(plain, st.builds(_quietly(lambda a, b, by: a + by * b), plain, plain, factor))


def positions(width: int = 1) -> st.SearchStrategy[Any]:
    """What `pos` may be: an int, several, a slice, or None for all.

    Args:
        width: The length of the shortest prompt.

    Raises:
        ValueError: If it has no token.
    """
    width = count(width, "width", "token")
    one = st.integers(-width, width - 1)
    from_to = st.builds(lambda start: slice(start, None), st.integers(0, width - 1))
    return st.one_of(st.just(-1), st.none(), one, st.lists(one, min_size=1, max_size=4), from_to)


def decomposers(law: dla.RowKind | None = None) -> st.SearchStrategy[dla.Decomposer]:
    """The library's decomposers, with their options, mixed and in groups; the simplest first.

    Args:
        law: Only those whose rows are this; None for all.
    """
    if law is not None:
        instance(law, dla.RowKind, "The law", "one of dla.RowKind, or None for all")
    embeds = {"the start": lambda label: label.kind.endswith("embed")}
    additive = st.one_of(
        st.just(dla.ComponentDecomposer()),
        st.just(dla.HeadDecomposer()),
        st.sampled_from((dla.BlockDecomposer(), dla.BiasDecomposer(), dla.EmbeddingDecomposer())),
        st.builds(dla.NeuronDecomposer, top_k=st.sampled_from([None, 1, 3])),
        st.sampled_from((dla.SourceDecomposer(), dla.ExpertDecomposer())),
        st.sampled_from(
            (dla.HeadDecomposer() | dla.NeuronDecomposer(), dla.SourceDecomposer() | dla.NeuronDecomposer())
        ),
        st.just(dla.GroupDecomposer(dla.HeadDecomposer(), embeds)),
    )
    found: dict[dla.RowKind, st.SearchStrategy[dla.Decomposer]] = {
        dla.RowKind.ADDITIVE: additive,
        dla.RowKind.CUMULATIVE: st.just(dla.LayerDecomposer()),
        dla.RowKind.LENS: st.just(dla.LensDecomposer()),
    }
    return st.one_of(*found.values()) if law is None else found[law]


def _listed(value: object, what: str) -> list[Any]:
    found = list(value) if isinstance(value, set | frozenset) else items(value)
    if found is None:
        raise TypeError(f"{what}={shown(value)} is not a list. Pass several in one.")
    return found


def _quietly(make: Callable[..., Any]) -> Callable[..., Any]:
    """Puts Python's global random numbers back: libraries draw from them, and Hypothesis forbids it in a strategy."""

    def made(*given: Any) -> Any:
        with _random_left_alone():
            return make(*given)

    return made


@contextmanager
def _random_left_alone() -> Iterator[None]:
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def _vector(width: int, seed: int) -> Tensor:
    return torch.randn(width, generator=torch.Generator().manual_seed(seed))

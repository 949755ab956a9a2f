"""The steps of `check_adapter`, one function per step. Each says what it found, and what is wrong with it."""

import warnings
from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

import dla
from dla.adapters.anatomy import Block
from dla.adapters.base import ModelAdapter
from dla.engine.rules import Rule
from dla.errors import UnsupportedModelError
from dla.testing.adapter_numbers import check_block_numbers
from dla.testing.differences import largest
from dla.testing.laws.traces import fitting_rule
from dla.testing.observed_run import ObservedRun, sites_of
from dla.testing.report import CheckResult
from dla.tolerances import MODULE_TOLERANCE
from dla.writes import Change, FullOutput, Write
from dla.writes.routes import Norm

_NEEDS = {"heads": ("attention heads", "hook_z or W_O"), "neurons": ("neurons", "hook_post or W_out")}
"""The pieces that a sublayer may have: what they are called, and what the model must have for them to be found."""


def check_running(adapter: ModelAdapter, tokens: Int[Tensor, "batch pos"]) -> Iterator[CheckResult]:
    """The model runs, is causal, and unembeds only the positions that are asked for."""
    logits = adapter.run(tokens.clone(), {}, None)  # it may change them, which is another step
    shape, finite = tuple(logits.shape), bool(logits.isfinite().all())
    found = f"{shape[0]} prompts of {tokens.shape[1]} tokens give logits {list(shape)}"
    fits = shape[:2] == tuple(tokens.shape) and len(shape) == 3
    problem = "" if fits and finite else "Logits must be finite, and [batch pos d_vocab] for all positions."
    yield CheckResult("runs", found, problem)
    if problem:
        return
    size = largest(logits) * max(1e-3, MODULE_TOLERANCE.get(logits.dtype, 0.0))
    changed = tokens.clone()
    changed[:, -1] = tokens[:, -1].roll(1) if len(set(tokens[:, -1].tolist())) > 1 else tokens[:, 0]
    apart = (adapter.run(changed.clone(), {}, None) - logits).abs()
    moved = apart[:, :-1].max().item() if tokens.shape[1] > 1 else 0.0
    problem = "" if moved <= size else f"The last token moves the logits before it by {moved:.1e}: not a decoder."
    if not problem and not torch.equal(changed, tokens) and not bool(apart.any()):
        problem = "With other last tokens the logits are the same: it does not read what it is given."
    yield CheckResult("is causal", "a token changes what is said after it, and nothing before it", problem)
    # Other positions for each prompt, and not in order.
    rows = torch.stack([torch.tensor([tokens.shape[1] - 1, 0]).roll(i) for i in range(tokens.shape[0])])
    rows[-1, -1] = tokens.shape[1] // 2
    kept = adapter.run(tokens.clone(), {}, rows)
    expected = logits.gather(1, rows.to(logits.device).unsqueeze(-1).expand(-1, -1, shape[-1]))
    right = kept.shape == expected.shape and bool((kept - expected).abs().max() <= size)
    problem = (
        ""
        if right
        else f"Asked for 2 positions per prompt, {rows.tolist()}, `run` gives {list(kept.shape)}, or other logits."
    )
    yield CheckResult("unembeds what is asked", "the same logits when only some positions are kept", problem)


def check_sites(run: ObservedRun) -> Iterator[CheckResult]:
    """Every hook that is read fires once in a run."""
    norm = run.anatomy.unembedding.norm
    # A model may use its final norm earlier as well. The last time counts, and `readout` compares that.
    may_repeat = None if norm is None else norm.scale.name
    missing = [f"{name} never fires" for name, count in run.fired.items() if count == 0]
    again = [f"{name} fires {count} times" for name, count in run.fired.items() if count > 1 and name != may_repeat]
    problem = "; ".join((*missing, *again)[:3])
    if problem:
        problem += ". A site must name a hook that fires once in a forward pass."
    yield CheckResult("hooks", f"{len(set(sites_of(run.anatomy)))} sites are read", problem)


def check_embeddings(run: ObservedRun) -> Iterator[CheckResult]:
    """The embeddings are what enters the first block."""
    embeddings = run.anatomy.embeddings
    problem = run.problem_of_sum(embeddings, [run.anatomy.blocks[0].resid_pre])
    found = ", ".join(map(_described, embeddings))
    yield _result("embeddings", found, problem, "They must add up to the first resid_pre.")


def check_blocks(run: ObservedRun) -> Iterator[CheckResult]:
    """Each block receives the stream that left the one before, and adds its sublayers to it; heads and neurons too."""
    last: FullOutput | None = None
    for i, block in enumerate(run.anatomy.blocks):
        problem = None if last is None else run.problem_of_sum([block.resid_pre], [last])
        if problem is not None:
            yield _result(f"block {i}: stream", "", problem, f"What enters is not what left block {i - 1}.")
        last = block.resid_post
        writes = [sublayer.write for sublayer in block.sublayers]
        problem = run.problem_of_sum(writes, [block.resid_post], given=[block.resid_pre])
        found = ", ".join(map(_described, writes)) or "nothing"
        yield _result(f"block {i}", found, problem, "resid_pre and the sublayers must add up to resid_post.")
        yield from _check_pieces(run, i, block)
        yield from check_block_numbers(run, i, block)


def check_readout(run: ObservedRun) -> Iterator[CheckResult]:
    """Final norm, unembedding and output transform turn the last stream into the logits."""
    unembedding = run.anatomy.unembedding
    stream = run.vector(run.anatomy.blocks[-1].resid_post)
    norm, normalised = unembedding.norm, run.activations[unembedding.normalised]
    if norm is not None:
        stream = norm.push_forward(stream, run.activations[norm.scale])
        stream = stream if norm.bias is None else stream + norm.bias.to(stream)
    problem = run.problem_of(unembedding.multiplier * stream, normalised)
    found = f"{_norm(norm)} × {unembedding.multiplier:g}" if unembedding.multiplier != 1 else _norm(norm)
    yield _result("final norm", found, problem, "It must give what is unembedded.")
    logits, products = run.activations[unembedding.logits], normalised @ unembedding.W_U.double()
    problem = run.problem_of(products if unembedding.b_U is None else products + unembedding.b_U.double(), logits)
    found = "x @ W_U" if unembedding.b_U is None else "x @ W_U + b_U"
    yield _result("unembedding", found, problem, "It must give the logits.")
    if unembedding.transform is None:
        yield CheckResult("output transform", "not known, so output logits are those that the model returns")
        return
    problem = run.problem_of(unembedding.transform(logits), run.logits)
    plain = run.problem_of(logits, run.logits) is None
    found = "none" if plain else "an elementwise function, such as a soft cap or a scale"
    yield _result("output transform", found, problem, "It must give what the model returns.")


def check_checkpoint(run: ObservedRun) -> Iterator[CheckResult]:
    """The model that runs is the checkpoint that it was made from."""
    mismatches = run.anatomy.mismatches
    found = "no module differs from its original" if not mismatches else ""
    yield CheckResult("checkpoint", found, " ".join(mismatches))


def check_sums(run: ObservedRun) -> Iterator[CheckResult]:
    """The rows of each decomposition add up to the model's own logits."""
    ids = torch.randint(run.logits.shape[-1], run.tokens.shape, generator=torch.Generator().manual_seed(0))
    for name, decomposer in _decompositions(run):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                attributor = dla.Attributor(run.adapter, decomposer, check="warn")
            except UnsupportedModelError as error:  # such as of a norm that has the scale of one place only
                yield CheckResult(f"sum of {name}", f"not offered: {error}")
                continue
            result = attributor.attribute(run.tokens, dla.Logit(ids), pos=None)
        excess = float((result.gap.abs() / result.tolerance).max().nan_to_num(torch.inf))
        found = f"{len(result.parts)} rows, gap {float(result.gap.abs().max()):.1e}"
        allowed = f"{float(result.tolerance.max()):.1e}"
        problem = "" if excess <= 1 else f"The rows miss the model's own logit (allowed: {allowed})."
        yield CheckResult(f"sum of {name}", found, problem)


def check_traces(run: ObservedRun) -> Iterator[CheckResult]:
    """Traces through what sublayers are said to read add up, sublayer by sublayer and all the way back."""
    reads = run.adapter.reads
    if reads is None:
        return
    result = dla.Attributor(run.adapter, dla.ComponentDecomposer()).attribute(run.tokens, dla.Logit(0))
    through, rules = 0, list[Rule | None]()
    for block, of_block in zip(run.anatomy.blocks, reads, strict=True):
        for sublayer, of in zip(block.sublayers, of_block, strict=True):
            if not isinstance(of, str):
                rules.append(fitting_rule(of))
                result.trace(str(sublayer.write.labels[0]), by=dla.ComponentDecomposer(), rule=rules[-1])
                through += 1
    result.trace_back(rule=next((rule for rule in rules if rule is not None), None))
    every = sum(len(block.sublayers) for block in run.anatomy.blocks)
    yield CheckResult("traces", f"{through} of {every} sublayers are traced")


def _decompositions(run: ObservedRun) -> Iterator[tuple[str, dla.Decomposer]]:
    """Those that split something of this model."""
    every = [sublayer for block in run.anatomy.blocks for sublayer in block.sublayers]
    if any(sublayer.heads is not None and sublayer.heads.values is not None for sublayer in every):
        yield "sources", dla.SourceDecomposer()
    if any(sublayer.neurons is not None for sublayer in every):
        yield "neurons", dla.NeuronDecomposer()
    if any(sublayer.experts is not None for sublayer in every):
        yield "experts", dla.ExpertDecomposer()
    yield from (("biases", dla.BiasDecomposer()), ("a lens", dla.LensDecomposer()))
    yield from (("components", dla.ComponentDecomposer()), ("heads", dla.HeadDecomposer()))
    yield "layers", dla.LayerDecomposer()


def _check_pieces(run: ObservedRun, i: int, block: Block) -> Iterator[CheckResult]:
    """The heads, and the neurons, of each sublayer of a block, with their biases, add up to it."""
    for kind in ("heads", "neurons"):
        split = [(s.write, s.heads if kind == "heads" else s.neurons) for s in block.sublayers]
        pieces = [(write, finer) for write, finer in split if finer is not None]
        for write, finer in pieces:
            writes, norm = finer.writes(), finer.route.norm
            found = f"{len(writes[0].labels)} {kind} at {writes[0].reads[0].name}"
            found += "".join(f", {label}" for other in writes[1:] for label in other.labels)
            found += "" if norm is None else f", through {_norm(norm)}"
            law = f"With the biases they must add up to {write.labels[0]}."
            yield _result(f"block {i}: {kind}", found, run.problem_of_sum(writes, [write]), law)
        if not pieces:
            yield CheckResult(f"block {i}: {kind}", _why_none(block, kind))


def _result(name: str, found: str, problem: str | None, law: str) -> CheckResult:
    return CheckResult(name, found, "" if problem is None else f"{law} {problem}")


def _why_none(block: Block, kind: str) -> str:
    """Why a block has no "heads", or no "neurons"."""
    what, hooks = _NEEDS[kind]
    found = [sublayer.reasons[what] for sublayer in block.sublayers if what in sublayer.reasons]
    return "none: " + ("; ".join(found) or f"no module of this block has {hooks}")


def _described(write: Write) -> str:
    labels, reads = write.labels, write.reads
    name = str(labels[0]) if len(labels) == 1 else f"{len(labels)} parts"
    text = f"{name} ({' to '.join(site.name for site in reads)})" if reads else name
    if isinstance(write, FullOutput | Change) and write.route.multiplier != 1.0:
        text += f" × {write.route.multiplier:.4g}"
    return text


def _norm(norm: Norm | None) -> str:
    if norm is None:
        return "no norm"
    kind = "LayerNorm" if norm.centred else "RMSNorm"
    has = [name for name, there in (("weight", norm.weight), ("bias", norm.bias)) if there is not None]
    return f"{kind} with {' and '.join(has)}" if has else f"{kind} without weight"

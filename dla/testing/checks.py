"""What is checked of an adapter, one function a step. Each says what it found and what is wrong with it."""

import warnings
from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

import dla
from dla.adapters.anatomy import Block
from dla.adapters.base import ModelAdapter
from dla.testing.differences import difference, largest
from dla.testing.look import ObservedRun, sites_of
from dla.testing.reasons import reason_of
from dla.testing.report import CheckResult
from dla.tolerances import MODULE_TOLERANCE
from dla.writes import Change, FullOutput, Write
from dla.writes.routes import Norm

"""Why a block (its number) has no "heads" or "neurons"."""


def check_running(adapter: ModelAdapter, tokens: Int[Tensor, "batch pos"]) -> Iterator[CheckResult]:
    """Runs, is causal, and unembeds only the positions that are asked for."""
    logits = adapter.run(tokens, {}, None)
    shape, finite = tuple(logits.shape), bool(logits.isfinite().all())
    found = f"{shape[0]} prompts of {tokens.shape[1]} tokens give logits {list(shape)}"
    fits = shape[:2] == tuple(tokens.shape) and len(shape) == 3
    problem = "" if fits and finite else "Logits must be finite, and [batch pos d_vocab] for all positions."
    yield CheckResult("runs", not problem, found, problem)
    if problem:
        return
    size = largest(logits) * max(1e-3, MODULE_TOLERANCE.get(logits.dtype, 0.0))
    changed = tokens.clone()
    changed[:, -1] = tokens[:, -1].roll(1) if len(set(tokens[:, -1].tolist())) > 1 else tokens[:, 0]
    moved = (adapter.run(changed, {}, None) - logits)[:, :-1].abs().max().item()
    problem = "" if moved <= size else f"The last token moves the logits before it by {moved:.1e}: not a decoder."
    yield CheckResult("is causal", not problem, "a token does not change what is said before it", problem)
    rows = torch.tensor([[0, tokens.shape[1] - 1]]).expand(tokens.shape[0], -1)
    kept = adapter.run(tokens, {}, rows)
    expected = logits.gather(1, rows.to(logits.device).unsqueeze(-1).expand(-1, -1, shape[-1]))
    right = kept.shape == expected.shape and bool((kept - expected).abs().max() <= size)
    problem = "" if right else f"Asked for 2 positions a prompt, `run` gives {list(kept.shape)}, or other logits."
    yield CheckResult("unembeds what is asked", right, "the same logits when only some positions are kept", problem)


def check_sites(look: ObservedRun) -> Iterator[CheckResult]:
    """Every hook that is read fires once a run."""
    missing = [f"{name} never fires" for name, count in look.fired.items() if count == 0]
    again = [f"{name} fires {count} times" for name, count in look.fired.items() if count > 1]
    problem = "; ".join((*missing, *again)[:3])
    if problem:
        problem += ". A site must name a hook that fires once in a forward pass."
    yield CheckResult("hooks", not problem, f"{len(set(sites_of(look.anatomy)))} sites are read", problem)


def check_embeddings(look: ObservedRun) -> Iterator[CheckResult]:
    """The embeddings are what enters the first block."""
    anatomy = look.anatomy
    problem = look.misses(anatomy.embeddings, [anatomy.blocks[0].resid_pre])
    found = ", ".join(_described(write) for write in anatomy.embeddings)
    yield CheckResult(
        "embeddings", problem is None, found, _explained(problem, "They must add up to the first resid_pre.")
    )


def check_blocks(look: ObservedRun) -> Iterator[CheckResult]:
    """The stream is handed on from block to block, and each adds its sublayers to it, as heads and neurons too."""
    last: FullOutput | None = None
    for i, block in enumerate(look.anatomy.blocks):
        if last is not None:
            problem = look.misses([block.resid_pre], [last])
            if problem is not None:
                yield CheckResult(
                    f"block {i}: stream", False, "", f"What enters is not what left block {i - 1}. {problem}"
                )
        last = block.resid_post
        yield _check_sum(look, i, block)
        yield from _check_finer(look, i, block)


def check_readout(look: ObservedRun) -> Iterator[CheckResult]:
    """Final norm, unembedding and output transform turn the last stream into the logits."""
    unembedding = look.anatomy.unembedding
    stream = look.vector(look.anatomy.blocks[-1].resid_post)
    norm, normalised = unembedding.norm, look.activations[unembedding.normalised]
    if norm is not None:
        stream = norm.push_forward(stream, look.activations[norm.scale])
        stream = stream if norm.bias is None else stream + norm.bias.to(stream)
    problem = look.same(unembedding.multiplier * stream, normalised)
    found = f"{_norm(norm)} × {unembedding.multiplier:g}" if unembedding.multiplier != 1 else _norm(norm)
    yield CheckResult("final norm", problem is None, found, _explained(problem, "It must give what is unembedded."))
    logits, products = look.activations[unembedding.logits], normalised @ unembedding.W_U.double()
    raw = products if unembedding.b_U is None else products + unembedding.b_U.double()
    problem = difference(raw, logits, largest(raw, logits), look.slack)
    found = "x @ W_U" if unembedding.b_U is None else "x @ W_U + b_U"
    yield CheckResult("unembedding", problem is None, found, _explained(problem, "It must give the logits."))
    if unembedding.transform is None:
        yield CheckResult("output transform", True, "not known, so output logits are those that the model returns")
        return
    problem = look.same(unembedding.transform(logits), look.logits)
    same = look.same(logits, look.logits) is None
    found = "none" if same else "an elementwise function, such as a soft cap or a scale"
    yield CheckResult(
        "output transform", problem is None, found, _explained(problem, "It must give what the model returns.")
    )


def check_checkpoint(look: ObservedRun) -> Iterator[CheckResult]:
    """The model that runs is the checkpoint that it was made from."""
    mismatches = look.anatomy.mismatches
    found = "no module differs from its original" if not mismatches else ""
    yield CheckResult("checkpoint", not mismatches, found, " ".join(mismatches))


def check_sums(look: ObservedRun) -> Iterator[CheckResult]:
    """The rows of each decomposition add up to the model's own logits, and end at those that it returns."""
    ids = torch.randint(look.logits.shape[-1], look.tokens.shape, generator=torch.Generator().manual_seed(0))
    for name, decomposer in (
        ("components", dla.ComponentDecomposer()),
        ("heads", dla.HeadDecomposer()),
        ("layers", dla.LayerDecomposer()),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = dla.Attributor(look.adapter, decomposer, check="warn").attribute(
                look.tokens, dla.Logit(ids), pos=None
            )
        excess = float((result.gap.abs() / result.tolerance).max().nan_to_num(torch.inf))
        found = f"{len(result.parts)} rows, gap {float(result.gap.abs().max()):.1e}"
        allowed = f"{float(result.tolerance.max()):.1e}"
        problem = "" if excess <= 1 else f"The rows miss the model's own logit (allowed: {allowed})."
        yield CheckResult(f"sum of {name}", not problem, found, problem)


def _check_sum(look: ObservedRun, i: int, block: Block) -> CheckResult:
    writes = [sublayer.write for sublayer in block.sublayers]
    problem = look.misses(writes, [block.resid_post], beside=[block.resid_pre])
    found = ", ".join(_described(write) for write in writes) or "nothing"
    law = "resid_pre and the sublayers must add up to resid_post."
    return CheckResult(f"block {i}", problem is None, found, _explained(problem, law))


def _check_finer(look: ObservedRun, i: int, block: Block) -> Iterator[CheckResult]:
    for kind in ("heads", "neurons"):
        parts = [(s.write, s.heads if kind == "heads" else s.neurons) for s in block.sublayers]
        named = [(write, finer) for write, finer in parts if finer is not None]
        for write, finer in named:
            writes = finer.writes()
            problem = look.misses(writes, [write])
            found = f"{len(writes[0].labels)} {kind} at {writes[0].reads[0].name}"
            found += "".join(f", {label}" for other in writes[1:] for label in other.labels)
            norm = finer.route.norm
            found += "" if norm is None else f", through {_norm(norm)}"
            law = f"With the biases they must add up to {write.labels[0]}."
            yield CheckResult(f"block {i}: {kind}", problem is None, found, _explained(problem, law))
        if not named:
            yield CheckResult(f"block {i}: {kind}", True, reason_of(look.anatomy, i, kind))


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


def _explained(problem: str | None, law: str) -> str:
    return "" if problem is None else f"{law} {problem}"

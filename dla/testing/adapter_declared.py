"""What an adapter may declare beside its anatomy: what its sublayers read, and how its model is edited."""

import contextlib
from collections.abc import Callable, Iterator
from typing import final

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from dla.adapters.anatomy import PieceKind, Sublayer, Values, biases
from dla.adapters.reads import ExpertReads, HeadReads, NeuronReads, Read, StreamEntry, SublayerReads
from dla.adapters.watching import before_hooks
from dla.errors import UnsupportedModelError
from dla.testing.differences import apart, slack_of
from dla.testing.observed_run import ObservedRun, observe_run
from dla.testing.report import CheckResult
from dla.writes import FullOutput, Site


@final
class _Stop(Exception):
    """An error while edits are on."""


def check_reads(run: ObservedRun) -> Iterator[CheckResult]:
    """What each sublayer is said to read makes its values, or its activations."""
    declared = run.adapter.reads
    if declared is None:
        yield CheckResult("reads", "not declared, so rows cannot be traced back")
        return
    sublayers = [list(block.sublayers) for block in run.anatomy.blocks]
    if [len(each) for each in declared] != [len(each) for each in sublayers]:
        told = f"`reads` has {[len(each) for each in declared]} entries by block; one is due for each sublayer."
        yield CheckResult("reads", problem=told)
        return
    pairs = [
        (i, *pair) for i, both in enumerate(zip(sublayers, declared, strict=True)) for pair in zip(*both, strict=True)
    ]
    sites = [site for _, _, reads in pairs for site in _sites(reads)]
    seen = {**run.activations, **observe_run(run.adapter, run.tokens, sites).activations}
    for i, sublayer, reads in pairs:
        name = f"block {i}: reads"
        if isinstance(reads, str):
            yield CheckResult(name, f"{sublayer.write.labels[0]}: not known, {reads}")
        elif isinstance(reads, ExpertReads):
            yield CheckResult(
                name, f"{len(reads.experts)} experts of {sublayer.write.labels[0]}, tried by their traces"
            )
        elif isinstance(reads, HeadReads):
            values = None if sublayer.heads is None else sublayer.heads.values
            yield CheckResult(name, f"values of {sublayer.write.labels[0]}", _of_heads(run, seen, values, reads))
        else:
            yield CheckResult(name, f"neurons of {sublayer.write.labels[0]}", _of_neurons(run, seen, sublayer, reads))


_Seen = dict[Site, Shaped[Tensor, "..."]]


def _sites(reads: SublayerReads) -> Iterator[Site]:
    if not isinstance(reads, str):
        yield from (*reads.entry.stream.reads, *reads.entry.reads)
    if isinstance(reads, NeuronReads):
        yield from reads.sites


def _entered(seen: _Seen, entry: StreamEntry) -> Float[Tensor, "batch pos d_model"]:
    """What enters the sublayer."""
    stream, norm = seen[entry.stream.site], entry.norm
    if norm is None:
        return stream
    entered = norm.push_forward(stream, seen[norm.scale])
    return entered if norm.bias is None else entered + norm.bias.detach().to(entered)


def _of_heads(run: ObservedRun, seen: _Seen, values: Values | None, reads: HeadReads) -> str:
    if values is None:
        return "What values are made of is declared, and no values are."
    wanted, made = seen[values.v].flatten(2), reads.values.of(_entered(seen, reads.entry))
    told = _missed(run, made, wanted, "The stream through its norm and W_V must give v.")
    given = (reads.values.bias, values.b_V)
    bias, b_V = (made.new_zeros(made.shape[-1]) if b is None else b.detach().double().flatten() for b in given)
    return told or _missed(run, b_V[None, None], bias[None, None], "b_V must be the bias of what values are made of.")


def _of_neurons(run: ObservedRun, seen: _Seen, sublayer: Sublayer, reads: NeuronReads) -> str:
    if sublayer.neurons is None:
        return "What neurons read is declared, and no neurons are."
    entered = _entered(seen, reads.entry)

    def told(read: Read) -> str:
        law = f"The stream through its norm and the weight must give {read.site.name}."
        return _missed(run, read.affine.of(entered), seen[read.site], law)

    of_reads = told(reads.pre) or ("" if reads.up is None else told(reads.up))
    post = reads.activated(seen)
    post = post if reads.bias is None else post + reads.bias.detach().to(post)
    return of_reads or _missed(run, post, seen[sublayer.neurons.post], "act(pre), times up, must give post.")


def _missed(
    run: ObservedRun, found: Float[Tensor, "batch pos d"], wanted: Float[Tensor, "batch pos d"], law: str
) -> str:
    if found.shape != wanted.shape:
        return f"{law} They have shapes {list(found.shape)} and {list(wanted.shape)}."
    problem = run.problem_of(found, wanted)
    return "" if problem is None else f"{law} {problem}"


def problem_of_outputs(run: ObservedRun, sublayer: Sublayer) -> str:
    """What is wrong with where a sublayer's output is seen, and with the reasons why it has no pieces of a kind."""
    label = sublayer.write.labels[0]
    unknown = set(sublayer.reasons) - set(PieceKind)
    if unknown:
        return f"`reasons` speaks of {sorted(unknown)}; its keys are {[str(kind) for kind in PieceKind]}."
    for site, route in sublayer.outputs:
        found = [FullOutput(site, label, route), *biases(None, "", label, route, "post-norm's bias")]
        problem = run.problem_of_sum(found, [sublayer.write])
        if problem is not None:
            return f"What {site.name} shows, through its route, must be {label}. {problem}"
    return ""


def _of_pieces(run: ObservedRun, tokens: Int[Tensor, "batch pos"], plain: Float[Tensor, "batch pos d_vocab"]) -> str:
    """The activations of heads and neurons are edited as streams are."""
    sublayers = run.anatomy.blocks[-1].sublayers
    names = [each.heads.z.name for each in sublayers if each.heads is not None]
    names += [each.neurons.post.name for each in sublayers if each.neurons is not None]
    for name in names:
        seen = list[Tensor]()
        try:
            with run.adapter.editing({name: torch.zeros_like}):
                edited = run.adapter.run(tokens, {name: seen.append}, None)
        except UnsupportedModelError:
            continue
        if not seen or not all(bool((each == 0).all()) for each in seen):
            return f"Observers of {name} must see what takes the place of its activation."
        if apart(edited, plain) <= slack_of(plain):
            return f"With zeros in the place of {name} the logits stay as they were: the edit is passed over."
    return ""


def _after_an_error(
    run: ObservedRun, name: str, tokens: Int[Tensor, "batch pos"], plain: Float[Tensor, "batch pos d_vocab"]
) -> str:
    with contextlib.suppress(_Stop), run.adapter.editing({name: torch.zeros_like}):
        raise _Stop
    if apart(run.adapter.run(tokens, {}, None), plain) > slack_of(plain):
        return "The edits stay after an error inside. Take them off in `finally`."
    return ""


def check_editing(run: ObservedRun) -> Iterator[CheckResult]:
    """While it is open another activation takes the place of one, and is seen; closed, all is as before."""
    adapter, name = run.adapter, run.anatomy.blocks[-1].resid_post.site.name
    tokens = torch.cat([run.tokens[:1], run.tokens[:1].roll(1, 1)])
    plain = adapter.run(tokens, {}, None)
    before, after = list[Tensor](), list[Tensor]()
    observe: dict[str, Callable[[Tensor], None]] = {name: after.append}

    def turned(activation: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        before.append(activation.detach().clone())
        whole = activation.shape[0] % len(tokens) == 0
        return activation.unflatten(0, (len(tokens), -1)).flip(0).flatten(0, 1) if whole else activation

    try:
        with adapter.editing({name: turned}):
            edited = adapter.run(tokens, observe | {before_hooks(name): before.append}, None)
    except UnsupportedModelError as error:
        yield CheckResult("editing", f"not offered: {error}")
        return
    slack = slack_of(plain)
    problem = ""
    if not before or apart(edited, plain.flip(0)) > slack:
        problem = f"With the prompts of the last stream, {name}, exchanged, the logits must be, too."
    elif len(after) != 1 or apart(after[0], turned(before[0])) > slack_of(before[0]):
        problem = f"Observers of {name} must see what takes the place of its activation."
    elif any(apart(each, before[0]) > slack_of(before[0]) for each in before[:2]):
        problem = f"Under before_hooks({name!r}) observers must see what was there."
    elif apart(adapter.run(tokens, {}, None), plain) > slack:
        problem = "The edits stay after they are closed."
    else:
        problem = _of_pieces(run, tokens, plain) or _after_an_error(run, name, tokens, plain)
    yield CheckResult("editing", f"what is put at {name} takes its place, and only while it is open", problem)

"""Every number that an adapter declares is used somewhere: here each is compared with what the model does."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from dla.adapters.anatomy import Block, Sublayer, Values
from dla.testing.adapter_declared import problem_of_outputs
from dla.testing.observed_run import ObservedRun
from dla.testing.report import CheckResult
from dla.writes.routes import Norm

_SCALE = 4e-6
"""How far, relatively, a norm's scale may be from the one that is computed of its input, in float32."""

_TRIED = 512
"""How many ids are decoded and encoded again, from all over the vocabulary."""

_UNHEARD_OF = ("xylophonist", "☃")
"""Texts that a model may not know, which stand for something all the same."""


def check_block_numbers(run: ObservedRun, i: int, block: Block) -> Iterator[CheckResult]:
    """The stream in the middle, what heads read, experts, post-norms, and the number of the block in its labels."""
    told = next((told for sublayer in block.sublayers if (told := _of_labels(i, sublayer))), "")
    if told:
        yield CheckResult(f"block {i}: labels", problem=told)
    if block.resid_mid is not None:
        problem = run.problem_of_sum(block.writes(1), [block.resid_mid], given=[block.resid_pre])
        found = f"after {block.sublayers[0].write.labels[0]}" if block.sublayers else ""
        told = "" if problem is None else f"resid_pre and the first sublayer must add up to resid_mid. {problem}"
        yield CheckResult(f"block {i}: resid_mid", found, told)
    told = next((told for sublayer in block.sublayers if (told := problem_of_outputs(run, sublayer))), "")
    if told:
        yield CheckResult(f"block {i}: outputs", problem=told)
    for sublayer in block.sublayers:
        name = str(sublayer.write.labels[0])
        if sublayer.heads is not None and sublayer.heads.values is not None:
            z = run.activations[sublayer.heads.z]
            yield _values(run, f"block {i}: values", sublayer.heads.values, z)
        if sublayer.experts is not None:
            problem = run.problem_of_sum(sublayer.experts.writes(), [sublayer.write])
            told = "" if problem is None else f"They must add up to {name}. {problem}"
            yield CheckResult(f"block {i}: experts", f"{len(sublayer.experts.experts.labels)} experts of {name}", told)
        for site, route in sublayer.outputs:
            if route.norm is not None:
                yield _scale(run, f"block {i}: norm", route.norm, run.activations[site])


def _of_labels(i: int, sublayer: Sublayer) -> str:
    """What is wrong with the labels of a sublayer, and of what its pieces are said to be pieces."""
    own = sublayer.write.labels[0]
    if own.layer != i:
        return f"{str(own)!r} has layer={own.layer}. Labels of block {i} have layer={i}, counted from 0."
    for part in (sublayer.heads, sublayer.neurons, sublayer.experts):
        if part is not None and part.label != own:
            return f"{str(part.label)!r} is given as the whole of the pieces of {str(own)!r}. It must be that."
    return ""


def _values(run: ObservedRun, name: str, values: Values, z: Float[Tensor, "batch pos head d_head"]) -> CheckResult:
    """`z[q, h] = Σ_s pattern[h, q, s] * v[s, group of h]`."""
    pattern, v = run.activations[values.pattern], run.activations[values.v]
    heads, groups = pattern.shape[1], v.shape[2]
    found = f"pattern at {values.pattern.name}, v at {values.v.name} in {groups} groups for {heads} heads"
    if heads % groups:
        return CheckResult(name, found, f"{groups} groups cannot be shared by {heads} heads, as many by each.")
    read = torch.einsum("bhqs,bshi->bqhi", pattern, v.repeat_interleave(heads // groups, dim=2))
    if read.shape != z.shape:
        return CheckResult(name, found, f"pattern @ v has shape {list(read.shape)}, and z {list(z.shape)}.")
    problem = run.problem_of(read.flatten(2), z.flatten(2))
    told = "" if problem is None else f"pattern @ v must be z; consecutive heads share a group. {problem}"
    if values.b_V is not None and values.b_V.shape != v.shape[2:]:
        told = f"b_V has shape {list(values.b_V.shape)}; v has {list(v.shape[2:])} at each position."
    return CheckResult(name, found, told)


def _scale(run: ObservedRun, name: str, norm: Norm, x: Float[Tensor, "batch pos d_model"]) -> CheckResult:
    """`eps` gives the scale that is read."""
    if norm.eps is None:
        return CheckResult(name, "its scale is read; eps is not declared")
    read = run.activations[norm.scale]
    x = x - x.mean(-1, keepdim=True) if norm.centred else x
    measured = float((read.pow(2) - x.pow(2).mean(-1)).median())
    found = f"eps declared {norm.eps:.3g}, measured {measured:.3g}"
    missed = ((norm.scale_of(x) - read).abs() / read.abs().clamp(min=1e-30)).max().item()
    allowed = max(_SCALE, 0.0 if run.slack < 1e-3 else run.slack)
    problem = f"With that eps the scale misses the one that is read by {missed:.1e} of it." if missed > allowed else ""
    return CheckResult(name, found, problem)


def check_readout_numbers(run: ObservedRun) -> Iterator[CheckResult]:
    """The final norm's eps, the output transform entry by entry, the module that unembeds."""
    unembedding, stream = run.anatomy.unembedding, run.vector(run.anatomy.blocks[-1].resid_post)
    if unembedding.norm is not None:
        yield _scale(run, "final norm: scale", unembedding.norm, stream)
    logits, transform, module = run.raw[unembedding.logits.name], unembedding.transform, unembedding.module
    if transform is not None:
        apart = run.problem_of(transform(logits[..., ::2]).double(), transform(logits)[..., ::2].double())
        told = f"It must treat each logit alone. {apart}" if apart is not None else ""
        yield CheckResult("transform by entry", "the same for some logits as for all", told)
    if module is not None:
        own = module(run.raw[unembedding.normalised.name]).double()
        apart = run.problem_of(own, logits.double())
        told = f"Called with what is unembedded it must give the logits. {apart}" if apart is not None else ""
        yield CheckResult("unembedding module", type(module).__name__, told)


def check_precision(run: ObservedRun) -> Iterator[CheckResult]:
    """The rounding unit, on which every tolerance rests, is no coarser than the model's own arithmetic."""
    dtypes = {tensor.dtype for tensor in run.raw.values() if tensor.is_floating_point()}
    coarsest = max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)
    anatomy, unit = run.anatomy, torch.finfo(coarsest).eps
    found = f"eps declared {anatomy.eps:.3g}, dtype {anatomy.dtype}; measured: activations in {coarsest}"
    problem = ""
    # Norms of Hugging Face compute in float32, whatever comes in.
    if not 0 < anatomy.eps <= max(unit, torch.finfo(torch.float32).eps) * 1.001:
        problem = f"The rounding unit of {coarsest} is {unit:.3g}. A coarser one would let anything add up."
    elif anatomy.dtype != coarsest:
        problem = f"The coarsest dtype of an activation is {coarsest}."
    yield CheckResult("precision", found, problem)


def check_vocabulary(run: ObservedRun) -> Iterator[CheckResult]:
    """Sizes are those of the logits and the embedding; texts become ids and ids texts; BOS is where it is said."""
    words, width = run.adapter.vocabulary, run.logits.shape[-1]
    found = f"{words.size} logits, {words.input_size} ids, BOS {words.bos}, padding {words.pad}"
    yield CheckResult("vocabulary", found, _of_sizes(run, width) or _of_texts(run))


def _of_sizes(run: ObservedRun, width: int) -> str:
    words, W_U = run.adapter.vocabulary, run.anatomy.unembedding.W_U
    if not words.size == width == W_U.shape[1]:
        return f"size={words.size}; the model returns {width} logits, and W_U has {W_U.shape[1]} columns."
    try:
        run.adapter.run(torch.tensor([[words.input_size - 1]]), {}, None)
    except (IndexError, ValueError, RuntimeError) as error:
        return (
            f"input_size={words.input_size}, and id {words.input_size - 1} is refused: {type(error).__name__}: {error}"
        )
    for name, token in (("bos", words.bos), ("unknown", words.unknown)):
        if token is not None and not 0 <= token < words.input_size:
            return f"{name}={token}; ids run from 0 to {words.input_size - 1}."
        if token is not None and token == words.pad and not words.pad_is_text:
            return f"pad={words.pad} is {name}, so it is text as well, and pad_is_text is False."
    return ""


def _of_texts(run: ObservedRun) -> str:
    words = run.adapter.vocabulary
    if words.encode is None or words.decode is None:
        return ""
    count = min(words.size, words.input_size)
    tried = torch.linspace(0, count - 1, min(count, _TRIED)).long().tolist()
    texts = {token: words.decode(token) for token in tried}
    for token, text in texts.items():
        back = words.encode(text, False) if text else []
        if len(back) == 1 and back[0] not in (token, words.unknown) and words.decode(back[0]) != text:
            return (
                f"Id {token} is {text!r} for `decode`, and {text!r} is id {back[0]} for `encode`, which is "
                f"{words.decode(back[0])!r}."
            )
    for text in _UNHEARD_OF:
        try:
            lost = not words.encode(text, False)
        except (ValueError, LookupError):  # it says that it does not know the word
            lost = False
        if lost:
            return f"{text!r} has no ids for `encode`, so prompts lose words without a sign. Give those of `unknown`."
    plain = next((text for text in texts.values() if text.strip() and len(words.encode(text, False)) == 1), "")
    if words.bos is None or not plain:
        return ""
    with_bos, without = words.encode(plain, True), words.encode(plain, False)
    if with_bos[:1] != [words.bos] or without[:1] == [words.bos] != with_bos[1:2]:
        return f"bos={words.bos}; {plain!r} is {with_bos} with BOS in front and {without} without."
    return ""

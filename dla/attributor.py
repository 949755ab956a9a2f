"""The one place where a model, a decomposition, a direction and prompts meet."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, final

import torch
from torch import Tensor

from dla.adapters import adapt
from dla.adapters.anatomy import Anatomy
from dla.decomposers.base import Decomposer, as_decomposer
from dla.directions import Continuation, Direction, Directions, question
from dla.directions.several import of_each_token
from dla.edits import Edit
from dla.engine.autocast import refuse_autocast, without_autocast
from dla.engine.caches import fitting
from dla.engine.forward import ForwardResult, Unembed, forward
from dla.engine.generation import written_after
from dla.engine.planner import Planner
from dla.engine.query import Query
from dla.engine.sampling import can_sample
from dla.errors import (
    ReconstructionError,
    ReconstructionWarning,
    warn_caller,
)
from dla.inputs.arguments import choice
from dla.inputs.continuations import Continuations, continued
from dla.inputs.given import Count, shown
from dla.inputs.positions import Position
from dla.inputs.prompts import Mask, Prompts, Text, read_prompts
from dla.results.attribution import Attribution
from dla.results.diagnosis import diagnosis
from dla.results.gaps import GapReport, explain

if TYPE_CHECKING:
    Asking = (
        Direction
        | Directions
        | Continuation
        | Mapping[str, Direction]
        | Mapping[str, str]
        | Mapping[str, int]
        | Sequence[Direction]
        | str
        | int
    )
else:  # `question` looks at what is passed, and says in a sentence what is wrong with it
    Asking = object


@final
class Attributor:
    """Splits a model's logits into the contributions of the parts that a decomposer names.

    The model runs once a call. Each write is contracted with the direction when the model makes it, so the cost is
    about that of the forward pass and nothing as wide as the residual stream is kept.

    Examples:
        >>> import dla.demo
        >>> attributor = Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer())
        >>> result = attributor.attribute("When Mary and John went to the store , John gave a drink to",
        ...                               dla.LogitDifference(" Mary", " John"))
        >>> bool(result.gap.abs() <= result.tolerance)
        True
    """

    def __init__(
        self,
        model: Any,
        decomposer: Decomposer,
        *,
        check: Literal["raise", "warn"] = "raise",
        unembed: Literal["all", "sample"] = "sample",
    ) -> None:
        """Looks at the model, by one small forward pass, and makes the plan.

        Args:
            model: A `HookedTransformer`, a `TransformerBridge` (raw or in compatibility mode), or a `ModelAdapter`.
            decomposer: How to split the residual stream.
            check: What to do where the parts miss the model's own logit: raise, or warn and return the result.
            unembed: What the parts are compared with where many positions are asked about. "sample": the logit that
                the model's own final stream has in the columns of `W_U` that are asked about; that these are the
                model's own logits is proven at every position in the first such call, and on one position in 16 in
                every other. "all": the logit that the model's own module made at every position; slower, and what is
                done anyway where few positions are asked about, where a direction reads the whole vocabulary, where a
                hook on the unembedding could edit single logits, and in half precision, where each logit is rounded.

        Raises:
            UnsupportedModelError: If the model cannot be attributed exactly.
            TypeError: If the decomposer is none.
            ValueError: If `check` or `unembed` is neither, or the model is in training mode.
        """
        self.check = choice(check, "check", ("raise", "warn"))
        self._sampled = choice(unembed, "unembed", ("all", "sample")) == "sample"
        self.decomposer = as_decomposer(decomposer)
        self._proven: Anatomy | None = None
        with without_autocast():
            self.model = adapt(model)
            self._planner = Planner(self.model, self.decomposer, strict=self.check == "raise")

    def __repr__(self) -> str:
        told = " ".join(shown(self.decomposer).split())
        return f"Attributor({self._planner.name}, {told}, check={self.check!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "An Attributor belongs to a model in this process, and cannot be pickled or copied. Pickle its decomposer, "
            "and make a new one where the model is: dla.Attributor(model, decomposer)."
        )

    def attribute(
        self,
        prompts: Text | Tensor | Prompts | None,
        direction: Asking,
        *,
        pos: Position = -1,
        cache: Any = None,
        attention_mask: Mask = None,
        prepend_bos: bool | None = None,
        edits: Sequence[Edit] = (),
    ) -> Attribution:
        """Attributes what `direction` asks, at the positions asked.

        Args:
            prompts: A string, a list of strings (lengths may differ); a chat, as a list of messages, or several; token
                ids, as a tensor or array `[pos]` or `[batch pos]`, a list, or a list of lists; or what a tokenizer
                returned. May be None where a cache is given. `docs/prompts.md` says how each is read.
            direction: What to attribute; a token alone asks for its logit. Several (a dict by name, a list, or
                `TopTokens`) are attributed in one pass and become an axis of the result. A `Continuation` is put
                behind the prompts, and asked about token by token.
            pos: An int (-1 is each prompt's last real token), several, a slice, or None for all. A `Continuation` says
                itself where.
            cache: An `ActivationCache` of these prompts, to use instead of running the model.
            attention_mask: For ids with padding: which of them are real.
            prepend_bos: For text: whether to put the BOS token in front; None does as the model does by default, but
                puts none in front of a text that begins with it.
            edits: What stands in the place of what some parts write, in this run only. The rows are those of the
                edited run; what an edit or a hook of yours adds to the stream beside them is a row of its own, such as
                `edit blocks.1.hook_resid_pre`.

        Raises:
            ReconstructionError: If the parts miss the model's own logit by more than rounding (see `check`).
            ValueError: If a token, prompt, position or cache does not fit; says which and what to do.
            TypeError: If an argument is of a kind that cannot be read; says which and what to pass.
        """
        with without_autocast() as on:
            if cache is None:
                refuse_autocast(on, self.model.anatomy.unembedding.W_U.device)
            query = (
                self._planner.continued(prompts, direction, pos, cache, attention_mask, prepend_bos, edits)
                if isinstance(direction, Continuation)
                else self._planner.query(prompts, question(direction), pos, cache, attention_mask, prepend_bos, edits)
            )
            with fitting(query.cache):
                run = self._forward(query).with_readout()
            return self._checked(Attribution.of(query, run))

    def attribute_text(
        self,
        prompts: Text | Tensor | Prompts,
        completions: Continuations,
        *,
        attention_mask: Mask = None,
        prepend_bos: bool | None = None,
        edits: Sequence[Edit] = (),
    ) -> Attribution:
        """Attributes each token of a text behind a prompt, at the position before it: log-probability and logit.

        All in one pass over the whole text (and one more for what the model answers). Each position has the rows that
        it has when the text up to there is a prompt. The two are directions of the result, "log-probability" (as
        `Continuation` asks for it) and "logit"; `result.places()` prints a line for each token.

        Args:
            prompts: As in `attribute`.
            completions: What comes after them: a text, ids, or a list with one for each prompt, as in `Continuation`.
            attention_mask: As in `attribute`.
            prepend_bos: As in `attribute`.
            edits: As in `attribute`.

        Raises:
            ReconstructionError: As `attribute`.
            TypeError: As `attribute`.
            ValueError: As `attribute`; if a completion is empty, or changes the tokens of its prompt.
        """
        with without_autocast() as on:
            refuse_autocast(on, self.model.anatomy.unembedding.W_U.device)
            asked = continued(prompts, completions, self.model.vocabulary, attention_mask, prepend_bos)
            query = self._planner.query_at(asked.prompts, of_each_token(completions), asked.positions(), None, edits)
            return self._checked(Attribution.of(query, self._forward(query).with_readout()))

    def generate(
        self,
        prompts: Text | Tensor | Prompts,
        n: Count = 20,
        *,
        do_sample: bool = False,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop_at_eos: bool = True,
        attention_mask: Mask = None,
        prepend_bos: bool | None = None,
    ) -> Attribution:
        """Lets the model write, by its own `generate`, and attributes each token that it wrote; see `attribute_text`.

        Args:
            prompts: As in `attribute`; the model writes behind each of them alone.
            n: How many tokens at most.
            do_sample: Whether tokens are drawn by their probabilities (`torch.manual_seed` makes that repeatable); else
                each is the most likely one.
            temperature: As in the model's `generate`.
            top_k: As in the model's `generate`.
            top_p: As in the model's `generate`.
            stop_at_eos: Whether the end-of-text token ends the text; it is the last token then.
            attention_mask: As in `attribute`.
            prepend_bos: As in `attribute`.

        Raises:
            ReconstructionError: As `attribute`.
            TypeError: As `attribute`.
            UnsupportedModelError: If the adapter does not say how its model writes.
            ValueError: As `attribute`; or if prompt and text are longer than the model's context.
        """
        read = read_prompts(prompts, self.model.vocabulary, attention_mask, prepend_bos)
        options = {"do_sample": do_sample, "temperature": temperature, "top_k": top_k, "top_p": top_p}
        written = written_after(self.model, read, n, {**options, "stop_at_eos": stop_at_eos})
        return self.attribute_text(read, written)

    def explain_gap(
        self,
        prompts: Text | Tensor | Prompts,
        direction: Asking,
        *,
        pos: Position = -1,
        attention_mask: Mask = None,
        prepend_bos: bool | None = None,
    ) -> GapReport:
        """Where the sum goes wrong: at each block, what the stream gained against what the parts say it gained.

        Args:
            prompts: As in `attribute`.
            direction: What to attribute: one direction.
            pos: One position.
            attention_mask: As in `attribute`.
            prepend_bos: As in `attribute`.

        Returns:
            A table that prints itself; the first block with a gap beyond tolerance is where to look.

        Raises:
            TypeError: If several directions are asked for, or an argument cannot be read.
            ValueError: As in `attribute`.
        """
        wanted = question(direction)
        if not isinstance(wanted, Direction):
            raise TypeError("A gap is explained for one direction at a time, and several were given. Pass one of them.")
        with without_autocast() as on:
            refuse_autocast(on, self.model.anatomy.unembedding.W_U.device)
            return explain(self._planner.query(prompts, wanted, pos, None, attention_mask, prepend_bos))

    def _forward(self, query: Query) -> ForwardResult:
        """One pass; the first that may take logits from columns of `W_U` proves them at every position."""
        if not self._sampled or not can_sample(query):
            return forward(query)
        anatomy = self.model.anatomy
        result = forward(query, unembed=Unembed.SAMPLE if self._proven is anatomy else Unembed.PROOF)
        self._proven = anatomy
        return result

    def _checked(self, result: Attribution) -> Attribution:
        asked = result.positions >= 0
        excess = (result.gap.abs().cpu() / result.tolerance.cpu()).where(asked, 0.0)
        if bool((excess <= 1).all()):
            return result
        message = diagnosis(result, excess.nan_to_num(torch.inf))
        if self.check == "raise":
            raise ReconstructionError(message)
        warn_caller(message, ReconstructionWarning)
        return result

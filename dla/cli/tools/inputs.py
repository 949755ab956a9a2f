"""What each tool is asked, in words that an agent reads; the schemas are made of it, and inputs are checked by it."""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from dla.cli.decomposing import NAMES

_KINDS = ", ".join(NAMES)

_Result = Annotated[str, Field(description="The id of an earlier result, such as 'r1'.")]
_Part = Annotated[str, Field(description="A row of that result, spelled as there: 'L9H6', '3_mlp_out', 'L9H6 ← 4'.")]
_Top = Annotated[
    int,
    Field(ge=1, le=500, description="How many rows to write out, the largest of either sign; the rest is one row."),
]
_Token = Annotated[
    str,
    Field(description="One token as text, leading space included (' Paris'), or its id, written 'id:464'."),
]
_Kind = Annotated[
    str, Field(description=f"What the rows are: {_KINDS}; several are joined by a plus, as in 'head+neuron'.")
]


class Inputs(pydantic.BaseModel):
    """What a tool is asked. Nothing but its fields, and no number is made of a text."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    @classmethod
    def schema_for_agents(cls) -> dict[str, Any]:
        """The JSON Schema, without the titles that pydantic makes of names."""
        schema: dict[str, Any] = _untitled(cls.model_json_schema())
        del schema["description"]  # the tool has it
        return schema


class AttributeInputs(Inputs):
    """Split a token's logit into rows.

    The logit of `answer` after the prompt, or with `incorrect` the difference of two logits, is split into one row for
    each part of the model: how much it adds directly. The rows and the constant add up to the model's own logit, or
    there is an error. Start here: the id of the result is what the other tools take. To find what a model uses, ask for
    the difference to a plausible wrong answer, head by head.
    """

    prompt: Annotated[str, Field(description="The text that the model reads.")]
    answer: _Token
    incorrect: Annotated[_Token | None, Field(description="A token whose logit is subtracted.")] = None
    decompose: _Kind = "head"
    pos: Annotated[int, Field(description="The position in the prompt; -1 is the last token.")] = -1
    prepend_bos: Annotated[
        bool | None, Field(description="Whether the BOS token is put in front; null does as the model does.")
    ] = None
    top: _Top = 20


class RefineInputs(Inputs):
    """Split one row of a result into pieces: a head by 'source' (from which token), an MLP by 'neuron'.

    The pieces take the place of the row in a new result, and add up to it. The model runs once more.
    """

    result: _Result
    part: _Part
    by: _Kind
    top: _Top = 20


class TraceInputs(Inputs):
    """What fed a part: its row, in rows of what was written to the stream before the part read it.

    Asks why a head or an MLP wrote what it wrote; the rows add up to the traced row. Attention patterns and norms are
    taken as they were. Gated MLPs (Llama, Gemma, ...) want a `rule`.
    """

    result: _Result
    part: _Part
    by: _Kind = "component"
    rule: Annotated[
        Literal["frozen_gate", "frozen_up", "mixed"] | None,
        Field(description="How a gated MLP is read as linear: which of its two halves is taken as it was."),
    ] = None
    top: _Top = 20


class EffectsInputs(Inputs):
    """What the logit really loses in runs of the model without a part, and who makes up for it.

    A row says what a part writes, not that the model needs it: this does. One run a part; the part's output is set to
    zero. `measured_effect` is the loss in that run, `repaired` what later parts give back.
    """

    result: _Result
    parts: Annotated[
        list[str] | int,
        Field(description="Rows of the result, or how many of the strongest; at most 32."),
    ] = 5
    at: Annotated[
        Literal["asked", "all"],
        Field(description="Where the part is taken away: at the position asked about, or at all positions."),
    ] = "asked"
    joint: Annotated[bool, Field(description="Whether all parts are taken away together, in one run.")] = False


class CompareInputs(Inputs):
    """Two results side by side, row by row: the first minus the second."""

    first: Annotated[str, Field(description="The id of a result, or a saved attribution (.nc) below the folder.")]
    second: Annotated[str, Field(description="Another of the same kind of rows.")]
    top: _Top = 20


class SummaryInputs(Inputs):
    """What a sweep over a corpus found on average: means with 95 % intervals, for each group of prompts."""

    sweep: Annotated[str, Field(description="The folder that `dla sweep` wrote, relative to the server's folder.")]
    by: Annotated[list[str], Field(description="Columns of the corpus to split the prompts by.")] = []
    top: _Top = 20


class TopTokensInputs(Inputs):
    """Which tokens of the vocabulary a part pushes up and down most: what it writes, in words."""

    result: _Result
    part: _Part
    k: Annotated[int, Field(ge=1, le=100, description="How many of each.")] = 10


def _untitled(node: Any) -> Any:
    if isinstance(node, dict):
        kept = {key: value for key, value in node.items() if key != "title" or isinstance(value, dict)}
        return {key: _untitled(value) for key, value in kept.items()}
    return [_untitled(each) for each in node] if isinstance(node, list) else node

"""What the tools do: each takes its inputs, and gives a document of `dla.result/1`."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import pydantic

import dla
from dla.cli.decomposing import decomposer_of
from dla.cli.tokens import direction_of
from dla.cli.tools.below import below
from dla.cli.tools.inputs import (
    AttributeInputs,
    CompareInputs,
    EffectsInputs,
    Inputs,
    RefineInputs,
    SummaryInputs,
    TopTokensInputs,
    TraceInputs,
)
from dla.cli.tools.kept import KeptResults

_PARTS = 32  # runs of the model that one call may ask for

_RULES: Mapping[str, Callable[[], Any]] = {
    "frozen_gate": lambda: dla.FrozenGate(),
    "frozen_up": lambda: dla.FrozenUp(),
    "mixed": lambda: dla.Mixed(0.5),
}

INPUTS: Mapping[str, type[Inputs]] = {
    "attribute": AttributeInputs,
    "refine": RefineInputs,
    "trace": TraceInputs,
    "effects": EffectsInputs,
    "compare": CompareInputs,
    "summary": SummaryInputs,
    "top_tokens": TopTokensInputs,
}
"""The tools, and what each is asked."""


@final
class Tools:
    """The tools of one model. Nothing is written, no code is run that an agent sent, and nothing is fetched."""

    def __init__(self, model: Any, folder: Path, most: int) -> None:
        """Keeps the model.

        Args:
            model: The model.
            folder: Below it are the sweeps and saved attributions that may be read.
            most: How many results are kept.
        """
        self._model, self._folder, self._kept = model, folder, KeptResults(most)
        self._attributors: dict[str, dla.Attributor] = {}

    def answer(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What a tool finds.

        Args:
            tool: Its name.
            arguments: What it is asked.

        Raises:
            DLAError: As the method of the library that it calls.
            TypeError: As that method.
            ValueError: As that method; if there is no such tool, or it cannot be asked that.
        """
        if tool not in INPUTS:
            raise ValueError(f"There is no tool {tool!r}. Use one of {', '.join(INPUTS)}.")
        try:
            asked = INPUTS[tool].model_validate(dict(arguments))
        except pydantic.ValidationError as error:
            raise ValueError(_told(tool, error)) from None
        document: dict[str, Any] = getattr(self, f"_{tool}")(asked)
        return document

    def _attribute(self, asked: AttributeInputs) -> dict[str, Any]:
        attributor = self._attributor(asked.decompose)
        direction = direction_of(asked.answer, asked.incorrect, attributor.model.vocabulary)
        found = attributor.attribute(asked.prompt, direction, pos=asked.pos, prepend_bos=asked.prepend_bos)
        return self._keeping(found, asked.top)

    def _refine(self, asked: RefineInputs) -> dict[str, Any]:
        return self._keeping(self._kept[asked.result].refine(asked.part, by=decomposer_of(asked.by)), asked.top)

    def _trace(self, asked: TraceInputs) -> dict[str, Any]:
        rule = None if asked.rule is None else _RULES[asked.rule]()
        found = self._kept[asked.result].trace(asked.part, by=decomposer_of(asked.by), rule=rule)
        return self._keeping(found, asked.top)

    def _effects(self, asked: EffectsInputs) -> dict[str, Any]:
        runs = asked.parts if isinstance(asked.parts, int) else len(asked.parts)
        if runs > _PARTS:
            raise ValueError(f"parts asks for {runs} runs of the model. Pass at most {_PARTS} parts.")
        found = self._kept[asked.result].effects(asked.parts, at=asked.at, joint=asked.joint, progress=False)
        return _read(found.to_json())

    def _compare(self, asked: CompareInputs) -> dict[str, Any]:
        return _read((self._result(asked.first) - self._result(asked.second)).to_json(asked.top))

    def _summary(self, asked: SummaryInputs) -> dict[str, Any]:
        summary = dla.Summary.load(below(self._folder, asked.sweep), asked.by or None, top_k=0)
        return _read(summary.to_json(asked.top))

    def _top_tokens(self, asked: TopTokensInputs) -> dict[str, Any]:
        return _read(self._kept[asked.result].part(asked.part).top_tokens(asked.k).to_json())

    def _result(self, name: str) -> "dla.Attribution":
        """A result by its id, or one that was saved."""
        return dla.load(below(self._folder, name)) if name.endswith(".nc") else self._kept[name]

    def _attributor(self, decompose: str) -> "dla.Attributor":
        if decompose not in self._attributors:
            made = dla.Attributor(self._model, decomposer_of(decompose))
            self._attributors = {decompose: made}  # one, since an agent may write a kind in many ways
        return self._attributors[decompose]

    def _keeping(self, found: "dla.Attribution", top: int) -> dict[str, Any]:
        return {**_read(found.to_json(top)), "id": self._kept.keep(found)}


def _read(document: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(document)
    return read


def _told(tool: str, error: pydantic.ValidationError) -> str:
    """All that is wrong with what a tool was asked, and what it takes."""
    wrong = (
        f"{'.'.join(map(str, each['loc'])) or 'the arguments'}: {each['msg'].rstrip('.')}"
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    )
    fields = ", ".join(INPUTS[tool].model_fields)
    return f"{tool} cannot be asked that ({'; '.join(wrong)}). Pass {fields} as its schema says."

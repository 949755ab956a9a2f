"""Results and errors as JSON: of the schema, strict, and with the numbers of the model."""

import builtins
import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from jsonschema import Draft202012Validator
from subjects import GPT2

import dla
import dla.demo
from dla.testing.models import PROMPT
from dla.views.document import document, schema
from dla.views.error_object import error_object

ASKED = dla.LogitDifference(" Mary", " John")


def strict(node: Any) -> Any:
    """The schema, which refuses every field that it does not describe."""
    if isinstance(node, list):
        return [strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    closed = {"additionalProperties": False} if node.get("type") == "object" and node.get("properties") else {}
    return {name: strict(each) for name, each in node.items()} | closed


VALIDATOR = Draft202012Validator(strict(schema()))


def read(text: str, kind: str) -> Any:
    """A document that is strict JSON and of the schema."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    found = json.loads(text, parse_constant=refuse)
    VALIDATOR.validate(found)
    assert (found["schema"], found["kind"]) == ("dla.result/1", kind)
    return found


@cache
def attribution(decomposer: dla.Decomposer | None = None, pos: int | None = -1) -> dla.Attribution:
    prompts = PROMPT if pos is not None else [PROMPT, "When Mary"]
    return dla.Attributor(GPT2.model(), decomposer or dla.HeadDecomposer()).attribute(prompts, ASKED, pos=pos)


def test_the_schema_is_one_and_refuses_what_it_does_not_describe() -> None:
    Draft202012Validator.check_schema(schema())
    assert not VALIDATOR.is_valid({"schema": "dla.result/1", "kind": "attribution"})
    assert not VALIDATOR.is_valid({**json.loads(attribution().to_json()), "more": 1})
    assert Draft202012Validator(schema()).is_valid({**json.loads(attribution().to_json()), "more": 1})


def test_the_strongest_rows_the_rest_and_the_constant_are_the_logit() -> None:
    result = attribution()
    found = read(result.to_json(top=3), "attribution")
    (one,) = found["directions"]
    assert [(row["part"], row["value"]) for row in one["rows"]] == [
        (label, pytest.approx(value)) for label, value in result.top(3, by="abs")
    ]
    assert one["rest"]["rows"] == len(result.parts) - 3
    added = sum(row["value"] for row in one["rows"]) + one["rest"]["sum"] + one["constant"]
    with torch.no_grad():
        logits = GPT2.model()(PROMPT)[0, -1]
    vocabulary = dla.Attributor(GPT2.model(), dla.HeadDecomposer()).model.vocabulary
    own = float(logits[vocabulary.token(" Mary")] - logits[vocabulary.token(" John")])
    assert added == pytest.approx(own, abs=1e-4)
    assert one["logit"] == pytest.approx(own, abs=1e-4)
    assert 0 <= one["gap"] <= one["tolerance"]
    assert one["not_selected"] == pytest.approx(0, abs=1e-4)
    assert found["positions"] == [{"prompt": 0, "position": 14, "token": result.tokens[0][14]}]
    assert found["caveats"] == list(result.caveats().sentences)
    (answer,) = found["answers"]
    assert [saying["token"] for saying in answer["asked"]][:2] == [" Mary", " John"]
    assert answer["asked"][0]["probability"] == pytest.approx(float(logits.softmax(-1)[vocabulary.token(" Mary")]))


def test_what_a_selection_leaves_out_is_told() -> None:
    result = attribution()
    some = result.select(kind="head")
    (one,) = read(some.to_json(top=2, caveats=False), "attribution")["directions"]
    others = float(result.values.sum() - some.values.sum())
    assert one["not_selected"] == pytest.approx(others, abs=1e-4)
    assert len(one["rows"]) + one["rest"]["rows"] == len(some.parts)


def test_every_kind_of_result_is_of_the_schema() -> None:
    result = attribution()
    several = read(attribution(pos=None).to_json(), "attribution")
    assert several["over_positions"] == "mean"
    assert {place["prompt"] for place in several["positions"]} == {0, 1}
    layers = read(attribution(dla.LayerDecomposer()).to_json(top=2), "attribution")
    assert [row["part"] for row in layers["directions"][0]["rows"]] == attribution(dla.LayerDecomposer()).labels[:2]
    assert layers["directions"][0]["rest"]["sum"] is None
    assert layers["caveats"] is None
    trace = result.trace(result.select(kind="head").labels[-1], by=dla.ComponentDecomposer())
    assert read(trace.to_json(top=4), "trace")["traced"] == result.select(kind="head").labels[-1]
    up = result.part("L0H1").top_tokens(2)
    found = read(up.to_json(), "top_tokens")
    assert [(each["token"], each["value"]) for each in found["up"]] == list(up.up)


def test_an_answer_of_several_tokens_is_summed_as_its_table_is() -> None:
    attributor = dla.Attributor(GPT2.model(), dla.HeadDecomposer())
    result = attributor.attribute([PROMPT, "When Mary"], dla.Continuation([" Mary and John", " the"]))
    found = read(result.to_json(top=3), "attribution")
    (one,) = found["directions"]
    assert found["over_positions"] == "sum"
    assert [(row["part"], row["value"]) for row in one["rows"]] == [
        (label, pytest.approx(value, abs=1e-4)) for label, value in result.top(3, by="abs")
    ]
    assert one["logit"] == pytest.approx(float(result.logit.nansum(-1).mean()), abs=1e-4)


def test_several_directions_are_told_apart() -> None:
    attributor = dla.Attributor(GPT2.model(), dla.HeadDecomposer())
    result = attributor.attribute(PROMPT, {"names": ASKED, "Mary": dla.Logit(" Mary")})
    found = read(result.to_json(top=1), "attribution")["directions"]
    assert [one["direction"] for one in found] == ["names", "Mary"]
    assert [one["logit"] for one in found] == pytest.approx(result.logit.flatten().tolist())
    effects = read(result.effects(2).to_json(), "effects")["directions"]
    assert len(effects) == 2


def test_effects_and_comparisons() -> None:
    attributor = dla.Attributor(GPT2.model(), dla.HeadDecomposer())
    result = attribution()
    effects = result.effects(3)
    (one,) = read(effects.to_json(top=2), "effects")["directions"]
    frame = effects.to_dataframe().set_index("label")
    for row in one["rows"]:
        assert row["measured_effect"] == pytest.approx(float(frame.loc[row["part"], "measured_effect"]))
        assert row["repaired"] == pytest.approx(row["direct_effect"] - row["measured_effect"], abs=1e-5)
        assert [(by["part"], by["value"]) for by in row["repaired_by"]] == effects.repair(row["part"]).top(5)
    assert (len(one["rows"]), one["rest"]["rows"]) == (2, 1)
    edited = attributor.attribute(PROMPT, ASKED, edits=[dla.Edit("L0H0", dla.Zero())])
    difference = result - edited
    (one,) = read(difference.to_json(top=2), "comparison")["directions"]
    assert [(row["part"], row["difference"]) for row in one["rows"]] == difference.top(2)
    assert one["sums"]["logit"]["first"] == pytest.approx(float(result.logit))
    (one,) = read(difference.split().to_json(), "comparison")["directions"]
    assert all(row["written"] + row["read"] == pytest.approx(row["difference"], abs=1e-5) for row in one["rows"])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Any:
    prompts = [PROMPT, PROMPT.replace("John gave", "Mary gave"), PROMPT.replace("store", "farm")]
    corpus = pd.DataFrame({"prompt": prompts, "answer": " Mary", "incorrect": " John", "who": ["a", "b", "a"]})
    attributor = dla.Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer())
    return dla.sweep(corpus, attributor, tmp_path_factory.mktemp("sweep") / "s", progress=False).path


def test_summaries(sweep: Any) -> None:
    summary = dla.Summary.load(sweep, "who")
    found = read(summary.to_json(top=2), "summary")
    assert [(group["group"], group["prompts"]) for group in found["groups"]] == [({"who": "a"}, 2), ({"who": "b"}, 1)]
    best = summary.group("a").top(2, by="abs")
    assert [(row["part"], row["mean"]) for row in found["groups"][0]["rows"]] == best
    first = found["groups"][0]
    whole = sum(row["mean"] for row in first["rows"]) + first["rest"]["sum"]
    assert whole == pytest.approx(first["sums"]["total"]["mean"], abs=1e-4)
    both = read(summary.compare(summary).to_json(top=2), "summary")
    assert both["groups"][0]["rows"][0]["first"] == both["groups"][0]["rows"][0]["second"]
    assert read(dla.Summary.load(sweep).to_json(), "summary")["groups"][0]["group"] == {}


def test_what_is_not_finite_is_null_and_no_text_is_a_command() -> None:
    result = attribution()
    values = result.values.clone()
    values[0], values[1] = torch.nan, torch.inf
    hole = replace(result, values=values, rerun=None)
    (one,) = read(hole.to_json(), "attribution")["directions"]
    by_name = {row["part"]: row["value"] for row in one["rows"]}
    assert [by_name[label] for label in hole.labels[:2]] == [None, None]
    parts = (dla.Label("mine", text="a\x1b[2Jb"), *result.parts[1:])
    assert "\x1b" not in replace(result, parts=parts, rerun=None).to_json()
    assert document("error", error={"x": [np.nan, (1.5,)]})["error"] == {"x": [None, [1.5]]}


def test_a_result_whose_model_was_changed_says_so_and_keeps_its_rows() -> None:
    model = dla.demo.load_small("raw")
    result = dla.Attributor(model, dla.HeadDecomposer()).attribute(PROMPT, ASKED)
    assert read(result.to_json(caveats=False), "attribution")["caveats"] is None
    with torch.no_grad():
        model.original_model.transformer.wte.weight[3] += 1
    (told,) = read(result.to_json(top=1), "attribution")["caveats"]
    assert "are not those of the run that this result comes from" in told


@pytest.mark.parametrize(("top", "kind"), [(-1, ValueError), ("two", TypeError), (1.5, TypeError)])
def test_a_number_of_rows_that_is_none(top: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="top="):
        attribution().to_json(top)


ERRORS = [getattr(dla, name) for name in dla.__all__ if name.endswith(("Error", "Warning"))]
CODES = {
    "DLAError": "dla_error",
    "DLAWarning": "dla_warning",
    "UnsupportedModelError": "unsupported_model",
    "ReconstructionError": "rows_do_not_add_up",
    "ReconstructionWarning": "rows_do_not_add_up",
    "RunChangedError": "run_changed",
    "ModelMismatchWarning": "model_mismatch",
    "CoarseDecompositionWarning": "coarse_decomposition",
    "PromptWarning": "prompt",
    "MissingPackageError": "missing_package",
    "FileFormatError": "file_format",
    "SweepWarning": "sweep",
    "ValueError": "wrong_value",
    "TypeError": "wrong_type",
    "IndexError": "wrong_value",
    "FileNotFoundError": "no_such_file",
    "PermissionError": "file_error",
    "KeyboardInterrupt": "stopped",
    "RuntimeError": "defect",
}


@pytest.mark.parametrize("name", CODES)
def test_each_public_exception_has_its_stable_code(name: str) -> None:
    kind = getattr(dla, name, None) or getattr(builtins, name)
    told = error_object(kind("It is 3. Pass 2."))
    VALIDATOR.validate(told)
    assert told["error"] == {"code": CODES[name], "message": "It is 3. Pass 2.", "value": "3", "remedy": "Pass 2."}


def test_no_public_exception_is_without_a_code() -> None:
    assert {kind.__name__ for kind in ERRORS} <= set(CODES)


def refused(call: Any) -> Any:
    with pytest.raises((ValueError, TypeError, dla.DLAError)) as caught:
        call()
    told = error_object(caught.value)
    VALIDATOR.validate(told)
    return told["error"]


def test_the_value_and_the_remedy_are_those_of_the_message() -> None:
    attributor = dla.Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer())
    result = attribution()
    told = refused(lambda: attributor.attribute(PROMPT, dla.Logit(" Mary John")))
    assert (told["code"], told["value"]) == ("wrong_value", "' Mary John'")
    assert told["remedy"].startswith("Pass one of them, or its id.")
    told = refused(lambda: attributor.attribute(PROMPT, ASKED, pos=99))
    assert (told["value"], "from -15 to 14" in told["remedy"]) == ("99", True)
    told = refused(lambda: result.select("L9H99"))
    assert (told["value"], bool(told["remedy"])) == ("'L9H99'", True)
    told = refused(lambda: result.top(2, by="size"))
    assert (told["value"], told["remedy"]) == ("'size'", "pass 'value' or 'abs'.")
    told = refused(lambda: result.refine("L0H0", by=3))  # type: ignore[arg-type]  # what is refused
    assert told["code"] == "wrong_type"


def test_an_error_without_a_text_and_one_with_notes() -> None:
    assert error_object(ValueError())["error"]["remedy"] == "ValueError"
    error = dla.DLAError("It is full.")
    error.add_note("Delete some.")
    assert error_object(error)["error"]["remedy"] == "Delete some."

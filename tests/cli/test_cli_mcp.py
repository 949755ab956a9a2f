"""`dla mcp`: the tools, asked by the SDK's own client over real stdin and stdout of a process."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pandas as pd
import pytest
from cli_assertions import assert_line
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

import dla
import dla.demo
from dla.cli.tools.answering import INPUTS, Tools
from dla.cli.tools.below import below
from dla.cli.tools.serving import server_of, tools_shown
from dla.views.document import schema

PROMPT = "When Mary and John went to the store , John gave a drink to"
ASKED = {"prompt": PROMPT, "answer": " Mary", "incorrect": " John"}
VALIDATOR = Draft202012Validator(schema())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep and a saved result, and links that lead out."""
    at = tmp_path_factory.mktemp("served")
    attributor = dla.Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer())
    rows = pd.DataFrame({"prompt": [PROMPT] * 3, "answer": [" Mary"] * 3, "who": ["a", "b", "a"]})
    for place in (at / "inside" / "sweep", at / "outside"):
        place.parent.mkdir(exist_ok=True)
        dla.sweep(rows, attributor, place, progress=False)
    attributor.attribute(PROMPT, dla.LogitDifference(" Mary", " John")).save(at / "inside" / "a.nc")
    (at / "inside" / "link").symlink_to(at / "outside")
    return at / "inside"


@pytest.fixture(scope="module")
def tools(folder: Path) -> Tools:
    return Tools(dla.demo.load_small("raw"), folder, most=3)


def attributed(**options: Any) -> dla.Attribution:
    attributor = dla.Attributor(dla.demo.load_small("raw"), dla.HeadDecomposer())
    return attributor.attribute(PROMPT, dla.LogitDifference(" Mary", " John"), **options)


@asynccontextmanager
async def served(folder: Path, *options: str) -> Any:
    words = ["-m", "dla", "mcp", str(dla.demo.FOLDER), "--folder", str(folder), *options]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    server = StdioServerParameters(command=sys.executable, args=words, env=environment)
    with open(os.devnull, "w") as errors:
        async with Client(stdio_client(server, errors)) as client:
            yield client


async def call(client: Any, tool: str, failed: bool = False, **arguments: Any) -> Any:
    found = await client.call_tool(tool, arguments)
    assert found.is_error is failed, found.content
    VALIDATOR.validate(found.structured_content)
    return found.structured_content


@pytest.mark.slow
def test_an_agent_asks_over_stdio(folder: Path) -> None:
    async def session() -> None:
        async with served(folder) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == set(INPUTS)
            found = await call(client, "attribute", top=3, **ASKED)
            result = attributed()
            (one,) = found["directions"]
            assert {row["part"]: row["value"] for row in one["rows"]} == pytest.approx(dict(result.top(3, by="abs")))
            assert found["caveats"] == list(result.caveats().sentences)
            finer = await call(client, "refine", result=found["id"], part="L1H1", by="source", top=2)
            own = result.refine("L1H1", by=dla.SourceDecomposer())
            assert finer["id"] != found["id"]
            assert [row["part"] for row in finer["directions"][0]["rows"]] == [
                label for label, _ in own.top(2, by="abs")
            ]
            trace = await call(client, "trace", result=finer["id"], part="L1H1 ← 2")
            expected = own.trace("L1H1 ← 2", by=dla.ComponentDecomposer())
            assert trace["directions"][0]["logit"] == pytest.approx(float(expected.logit))
            effects = await call(client, "effects", result=found["id"], parts=["L1H1"])
            (row,) = effects["directions"][0]["rows"]
            assert row["measured_effect"] == pytest.approx(float(result.effects(["L1H1"]).measured_effects))
            tokens = await call(client, "top_tokens", result=found["id"], part="L1H1", k=2)
            assert [each["token"] for each in tokens["up"]] == [
                token for token, _ in result.part("L1H1").top_tokens(2).up
            ]
            other = await call(client, "attribute", prompt=PROMPT, answer="id:12", incorrect=" John")
            both = await call(client, "compare", first=found["id"], second=other["id"])
            assert both["directions"][0]["sums"]["logit"]["first"] == pytest.approx(float(result.logit))
            same = await call(client, "compare", first=found["id"], second="a.nc")
            assert all(abs(row["difference"]) < 1e-5 for row in same["directions"][0]["rows"])
            summary = await call(client, "summary", sweep="sweep", by=["who"], top=2)
            assert [(each["group"], each["prompts"]) for each in summary["groups"]] == [
                ({"who": "a"}, 2),
                ({"who": "b"}, 1),
            ]
            error = await call(client, "attribute", failed=True, prompt=PROMPT, answer=" Mary John")
            assert error["error"]["remedy"].startswith("Pass one of them, or its id")
            assert (await call(client, "attribute", **ASKED))["directions"][0]["logit"] == one["logit"]

    anyio.run(session)


def answer(tools: Tools, tool: str, **arguments: Any) -> Any:
    """What the SDK's client gets, without a process."""

    async def ask() -> Any:
        async with Client(server_of(tools, "demo")) as client:
            return await client.call_tool(tool, arguments)

    found = anyio.run(ask)
    VALIDATOR.validate(found.structured_content)
    assert found.content[0].text
    return found


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "told"),
    [
        ("attribute", {"prompt": PROMPT}, "wrong_value", "answer: Field required"),
        ("attribute", {**ASKED, "pos": "last"}, "wrong_value", "pos: Input should be a valid integer"),
        ("attribute", {**ASKED, "code": "1"}, "wrong_value", "code: Extra inputs are not permitted"),
        ("attribute", {**ASKED, "decompose": "hed"}, "wrong_value", "'hed' is not one of 'component'"),
        ("attribute", {**ASKED, "decompose": "os:system"}, "wrong_value", "is not one of"),
        ("attribute", {**ASKED, "pos": 99}, "wrong_value", "pos=99 is out of range"),
        ("attribute", {**ASKED, "top": 10**9}, "wrong_value", "less than or equal to 500"),
        ("refine", {"result": "r99", "part": "L1H1", "by": "source"}, "wrong_value", "There is no result 'r99'"),
        ("run", {"code": "1"}, "wrong_value", "There is no tool 'run'. Use one of attribute"),
        ("summary", {"sweep": "nowhere"}, "wrong_value", "There is no file or folder 'nowhere'"),
        ("summary", {"sweep": "a.nc"}, "file_format", "is not a sweep's folder"),
        ("summary", {"sweep": "link"}, "wrong_value", "is not below the folder"),
        ("compare", {"first": "../a.nc", "second": "a.nc"}, "wrong_value", "is not below the folder"),
    ],
)
def test_mistakes_are_objects_with_a_remedy(tools: Tools, tool: str, arguments: Any, code: str, told: str) -> None:
    found = answer(tools, tool, **arguments)
    error = found.structured_content["error"]
    assert found.is_error
    assert error["code"] == code
    assert told in error["message"]
    assert re.match("Pass|Use|Attribute|Join|pos=", error["remedy"])


def test_a_defect_ends_no_session_and_is_told_on_stderr(tools: Tools, monkeypatch: Any, capsys: Any) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr(dla.Attributor, "attribute", broken)
    found = answer(tools, "attribute", **ASKED)
    assert (found.is_error, found.structured_content["error"]["code"]) == (True, "defect")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "RuntimeError: a defect of ours" in shown.err


def test_what_the_library_warns_about_is_told_to_the_agent(tools: Tools) -> None:
    (note,) = answer(tools, "attribute", prompt="When Zebedee", answer=" Mary").structured_content["notes"]
    assert "does not know 'Zebedee'" in note


def test_only_the_newest_results_are_kept(folder: Path) -> None:
    tools = Tools(dla.demo.load_small("raw"), folder, most=2)
    first, second = (tools.answer("attribute", ASKED)["id"] for _ in range(2))
    tools.answer("top_tokens", {"result": first, "part": "L1H1"})
    third = tools.answer("attribute", ASKED)["id"]
    assert len({first, second, third}) == 3
    with pytest.raises(ValueError, match=rf"no result '{second}'; there are {first}, {third}, since the newest 2"):
        tools.answer("refine", {"result": second, "part": "L1H1", "by": "source"})


def test_large_results_are_dropped_earlier(folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("dla.cli.tools.kept._NUMBERS", 100)
    tools = Tools(dla.demo.load_small("raw"), folder, most=9)
    first = tools.answer("attribute", ASKED)["id"]
    second = tools.answer("attribute", ASKED)["id"]
    with pytest.raises(ValueError, match=f"no result '{first}'"):
        tools.answer("top_tokens", {"result": first, "part": "L1H1"})
    assert tools.answer("top_tokens", {"result": second, "part": "L1H1"})["kind"] == "top_tokens"


def test_many_runs_are_not_asked_for_at_once(tools: Tools) -> None:
    name = tools.answer("attribute", ASKED)["id"]
    with pytest.raises(ValueError, match="asks for 33 runs of the model. Pass at most 32 parts"):
        tools.answer("effects", {"result": name, "parts": 33})


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../outside", "sweep/../../outside", "link", "link/manifest.json", "a\0b", "~", "nowhere"],
)
def test_paths_that_lead_elsewhere(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"Pass a path relative to that folder, without '\.\.' and without links"):
        below(folder, name)


def test_a_folder_that_holds_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    assert below(tmp_path, "sweep") == tmp_path / "sweep"
    (tmp_path / "sweep" / "parts").symlink_to(folder)
    with pytest.raises(ValueError, match="without links"):
        below(tmp_path, "sweep")


def test_an_agent_reads_what_each_tool_and_each_input_is_for() -> None:
    for tool in tools_shown():
        assert 60 < len(tool.description or "") < 800
        assert "Attributes:" not in (tool.description or "")
        Draft202012Validator.check_schema(tool.input_schema)
        assert tool.input_schema["additionalProperties"] is False
        for name, field in tool.input_schema["properties"].items():
            assert "title" not in field
            assert field.get("description"), f"{tool.name}: {name}"
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint


@pytest.mark.slow
def test_nothing_but_the_protocol_is_on_stdout_and_ctrl_c_ends_quietly(folder: Path) -> None:
    words = [sys.executable, "-m", "dla", "mcp", str(dla.demo.FOLDER), "--folder", str(folder)]
    run = subprocess.Popen(words, stdin=-1, stdout=-1, stderr=-1, text=True)
    assert run.stdin is not None
    assert run.stdout is not None
    asked = '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},'
    run.stdin.write(asked + '"clientInfo":{"name":"t","version":"0"}}}\n')
    run.stdin.flush()
    first = run.stdout.readline()
    assert first.startswith('{"')
    assert '"serverInfo"' in first
    time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    out, errors = run.communicate(timeout=30)
    assert (run.returncode, out, errors) == (130, "", "")


def test_a_command_that_cannot_serve(dla_command: Any, tmp_path: Path, monkeypatch: Any) -> None:
    run = dla_command("mcp", dla.demo.FOLDER, "--folder", tmp_path / "no")
    assert_line(run, 2, "is no folder. Pass one that is there.")
    monkeypatch.setattr("dla.cli.mcp.lacks_package", lambda package: package == "mcp")
    assert_line(dla_command("mcp", dla.demo.FOLDER, "--folder", tmp_path), 1, "pip install 'dla[mcp]'")

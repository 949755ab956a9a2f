"""The Model Context Protocol over stdin and stdout, by its official SDK."""

import inspect
import json
import sys
import traceback
import warnings
from typing import Any

import anyio
import anyio.to_thread
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.types import CallToolRequestParams, CallToolResult, ListToolsResult, TextContent, Tool, ToolAnnotations

from dla.cli.tools.answering import INPUTS, Tools
from dla.errors import DLAError, DLAWarning
from dla.provenance import __version__
from dla.text import as_text
from dla.views.error_object import error_object

_ABOUT = """Direct logit attribution of one language model ({model}): which parts of it write a token's logit.
Begin with `attribute`; its rows add up to the model's own logit, or there is an error. Then look closer by the id of
the result: `refine` (a head by source token), `top_tokens` (what a part writes), `trace` (what fed it), `effects`
(whether the logit needs it), `compare`. A row says what a part adds directly, not that the model needs it: read
`caveats`, and ask `effects` before you conclude. All numbers are logits. Answers are JSON of the schema dla.result/1;
errors have a code, the wrong value and the remedy."""


def serve(tools: Tools, model: str) -> None:
    """Answers calls on stdin until it is closed; nothing but the protocol goes to stdout.

    Args:
        tools: What is served.
        model: The model's name.
    """
    anyio.run(_serve, server_of(tools, model))


def server_of(tools: Tools, model: str) -> Server[Any]:
    """The server; it listens nowhere.

    Args:
        tools: What is served.
        model: The model's name.
    """
    one_by_one = anyio.Lock()

    async def list_tools(context: Any, params: Any) -> ListToolsResult:
        return ListToolsResult(tools=tools_shown())

    async def call_tool(context: Any, params: CallToolRequestParams) -> CallToolResult:
        async with one_by_one:  # the model has one state
            return await anyio.to_thread.run_sync(_answered, tools, params.name, params.arguments or {})

    return Server(
        "dla",
        version=__version__,
        instructions=_ABOUT.format(model=model),
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def tools_shown() -> list[Tool]:
    """The tools as an agent sees them."""
    return [
        Tool(
            name=name,
            description=inspect.cleandoc(inputs.__doc__ or ""),
            input_schema=inputs.schema_for_agents(),
            annotations=ToolAnnotations(
                title=name.replace("_", " "), read_only_hint=True, destructive_hint=False, open_world_hint=False
            ),
        )
        for name, inputs in INPUTS.items()
    ]


def _answered(tools: Tools, name: str, arguments: dict[str, Any]) -> CallToolResult:
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DLAWarning)
            document = tools.answer(name, arguments)
        notes = dict.fromkeys(str(each.message) for each in caught if issubclass(each.category, DLAWarning))
        return _result({**document, "notes": list(map(as_text, notes))}, failed=False)
    except (ValueError, TypeError, DLAError, OSError) as error:
        return _result(error_object(error), failed=True)
    except Exception as error:  # a defect of the library must not end the session
        traceback.print_exc(file=sys.stderr)
        return _result(error_object(error, f"{type(error).__name__}: {error}"), failed=True)


def _result(document: dict[str, Any], failed: bool) -> CallToolResult:
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    return CallToolResult(content=[TextContent(text=text)], structured_content=document, is_error=failed)


async def _serve(server: Server[Any]) -> None:
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())

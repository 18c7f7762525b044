"""The tools of the fake server and what each of them does; knows nothing of eras' wires."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.fake_exchange import INTERNAL_ERROR, INVALID_PARAMS, Exchange, Refusal
from tests.support.fake_ledger import Message

Tool = Callable[[Exchange, Message], Awaitable[Message]]

URL_REQUIRED = -32042  # legacy only
TASK = "t1"
TEXT = {"type": "string"}
NUMBER = {"type": "number"}
COUNT = {"type": "integer"}


def text(value: str, **more: Any) -> Message:
    return {"content": [{"type": "text", "text": value}], "isError": False, **more}


async def echo(_: Exchange, arguments: Message) -> Message:
    return text(arguments["text"])


async def add(_: Exchange, arguments: Message) -> Message:
    total = arguments["a"] + arguments["b"]
    return text(str(total), structuredContent={"sum": total})


async def slow(_: Exchange, arguments: Message) -> Message:
    """Takes its time on the clock; `hold` is the one that needs no clock."""
    await asyncio.sleep(arguments["seconds"])
    return text(arguments.get("text", ""))


async def hold(exchange: Exchange, arguments: Message) -> Message:
    """Waits until the test calls `server.release(gate)`."""
    exchange.progress(0, 1, "held")
    await exchange.gate(arguments["gate"]).wait()
    return text(arguments.get("text", ""))


async def progress(exchange: Exchange, arguments: Message) -> Message:
    steps = arguments["steps"]
    for step in range(1, steps + 1):
        exchange.progress(step, steps, f"step {step} of {steps}")
        exchange.log("info", f"step {step}")
        await asyncio.sleep(0)
    return text(f"{steps} steps")


async def fail(_: Exchange, arguments: Message) -> Message:
    return {"content": [{"type": "text", "text": arguments.get("text", "it failed")}], "isError": True}


async def crash(_: Exchange, arguments: Message) -> Message:
    raise Refusal(arguments.get("code", INTERNAL_ERROR), "the tool crashed", {"tool": "crash"})


async def big(_: Exchange, arguments: Message) -> Message:
    return text("x" * arguments["bytes"])


async def regional(_: Exchange, arguments: Message) -> Message:
    """Its `region` argument has to be mirrored in a header by modern clients (`x-mcp-header`)."""
    return text(f"{arguments['region']}: {arguments.get('text', '')}")


async def reconnect(exchange: Exchange, arguments: Message) -> Message:
    """Ends its own response in mid-call; the client fetches the rest by GET with Last-Event-ID (2025-11-25)."""
    exchange.progress(1, 2, "before")
    await asyncio.sleep(0)
    if exchange.channel.name:
        exchange.channel.detach()
        await exchange.gate("reconnect").wait() if arguments.get("held") else await asyncio.sleep(0)
    exchange.progress(2, 2, "after")
    return text(arguments.get("text", "reconnected"))


async def ask_ping(exchange: Exchange, _: Message) -> Message:
    if exchange.modern:
        return text("the modern era has no ping")
    return text(f"ping: {await exchange.ask('ping', {})}")


async def ask_sampling(exchange: Exchange, arguments: Message) -> Message:
    prompt = {"role": "user", "content": {"type": "text", "text": arguments.get("text", "hello")}}
    answer = await _input(exchange, "sampling/createMessage", {"messages": [prompt], "maxTokens": 10})
    return answer if "resultType" in answer else text(f"sampled: {answer['content']['text']}")


async def ask_elicitation(exchange: Exchange, arguments: Message) -> Message:
    schema = {"type": "object", "properties": {"name": TEXT}, "required": ["name"]}
    params: Message = {"message": arguments.get("text", "What is your name?"), "requestedSchema": schema}
    if "token" in arguments:
        params["_meta"] = {"progressToken": arguments["token"]}
    answer = await _input(exchange, "elicitation/create", params)
    return answer if "resultType" in answer else text(f"{answer['action']}: {answer.get('content', {}).get('name')}")


async def ask_roots(exchange: Exchange, _: Message) -> Message:
    answer = await _input(exchange, "roots/list", {})
    return answer if "resultType" in answer else text(f"roots: {[root['uri'] for root in answer['roots']]}")


async def ask_several(exchange: Exchange, _: Message) -> Message:
    """Asks for roots and a name at once."""
    params = {"message": "name?", "requestedSchema": {"type": "object", "properties": {}}}
    if not exchange.modern:
        roots, name = await asyncio.gather(exchange.ask("roots/list", {}), exchange.ask("elicitation/create", params))
        return text(f"{roots['roots'][0]['uri']} {name['action']}")
    responses = exchange.request.params.get("inputResponses")
    if responses is None:
        asked = {"r": {"method": "roots/list"}, "e": {"method": "elicitation/create", "params": params}}
        return {"resultType": "input_required", "inputRequests": asked}
    return text(f"{responses['r']['roots'][0]['uri']} {responses['e']['action']}")


async def ask_rounds(exchange: Exchange, arguments: Message) -> Message:
    """Asks again and again, telling its progress, before it answers with what it was told."""
    count, params = arguments["rounds"], {"requestedSchema": {"type": "object", "properties": {}}}
    if not exchange.modern:
        said = []
        for step in range(1, count + 1):
            exchange.progress(step, count, f"round {step}")
            said.append(await exchange.ask("elicitation/create", {**params, "message": f"round {step}"}))
        return text(" ".join(one["content"]["name"] for one in said))
    told = exchange.request.params.get("requestState", "")
    if "inputResponses" in exchange.request.params:
        told = f"{told} {exchange.request.params['inputResponses']['answer']['content']['name']}".strip()
    step = len(told.split()) + 1
    if step > count:
        return text(told)
    exchange.progress(step, count, f"round {step}")
    asked = {"answer": {"method": "elicitation/create", "params": {**params, "message": f"round {step}"}}}
    return {"resultType": "input_required", "inputRequests": asked, "requestState": told}


async def ask_in_turns(exchange: Exchange, _: Message) -> Message:
    """Asks with a state, then without one, then gives a state alone; takes each of them in its own round only."""
    if not exchange.modern:
        return text("the legacy era has no states")
    params = {"message": "name?", "requestedSchema": {"type": "object", "properties": {}}}
    question = {"method": "elicitation/create", "params": params}
    rounds: dict[tuple[str, str], Message] = {
        ("", ""): {"inputRequests": {"a": question}, "requestState": "first"},
        ("a", "first"): {"inputRequests": {"b": question}},
        ("b", ""): {"requestState": "last"},
        ("", "last"): {},
    }
    given = exchange.request.params
    found = rounds.get((" ".join(given.get("inputResponses", {})), given.get("requestState", "")))
    if found is None:
        raise Refusal(INVALID_PARAMS, "that was of another round")
    return {"resultType": "input_required", **found} if found else text("all rounds")


async def ask_url(exchange: Exchange, arguments: Message) -> Message:
    """Has the user visit a page first (2025-11-25: an error), once for each `ticket`."""
    visits = [run for run in exchange.ledger.executions if (run.tool, run.arguments) == ("ask_url", arguments)]
    if len(visits) > 1:
        return text("visited")
    page = {"mode": "url", "message": "Please log in", "url": "https://example.com/login"}
    if exchange.modern:
        asked = {"page": {"method": "elicitation/create", "params": page}}
        return {"resultType": "input_required", "inputRequests": asked}
    raise Refusal(URL_REQUIRED, "log in first", {"elicitations": [{**page, "elicitationId": "e1"}]})


async def _input(exchange: Exchange, method: str, params: Message) -> Message:
    """What the client answers; in the modern era, where it cannot be asked, first an `input_required` result."""
    if not exchange.modern:
        return await exchange.ask(method, params)
    responses = exchange.request.params.get("inputResponses")
    if responses is None:
        asked = {"method": method, "params": params}
        return {"resultType": "input_required", "inputRequests": {"answer": asked}, "requestState": "fake-state"}
    if exchange.request.params.get("requestState") != "fake-state":
        raise Refusal(INVALID_PARAMS, "requestState is not the one that was given")
    answer: Message = responses["answer"]
    return answer


async def begin_task(exchange: Exchange, _: Message) -> Message:
    """Answers with a task if the client knows such (`io.modelcontextprotocol/tasks`). All servers call it `t1`."""
    capabilities = exchange.request.meta.get("io.modelcontextprotocol/clientCapabilities", {})
    if "io.modelcontextprotocol/tasks" not in capabilities.get("extensions", {}):
        return text("done at once")
    return {"resultType": "task", **a_task("working")}


def a_task(status: str) -> Message:
    stamps = {"createdAt": "2026-11-25T10:30:00Z", "lastUpdatedAt": "2026-11-25T10:40:00Z"}
    return {"taskId": TASK, "status": status, **stamps, "ttlMs": 60000, "pollIntervalMs": 5}


_TOOLS: dict[str, tuple[Tool, Message, tuple[str, ...]]] = {
    "echo": (echo, {"text": TEXT}, ("text",)),
    "add": (add, {"a": NUMBER, "b": NUMBER}, ("a", "b")),
    "slow": (slow, {"seconds": NUMBER, "text": TEXT}, ("seconds",)),
    "hold": (hold, {"gate": TEXT, "text": TEXT}, ("gate",)),
    "progress": (progress, {"steps": COUNT}, ("steps",)),
    "fail": (fail, {"text": TEXT}, ()),
    "crash": (crash, {"code": COUNT}, ()),
    "big": (big, {"bytes": COUNT}, ("bytes",)),
    "regional": (regional, {"region": {**TEXT, "x-mcp-header": "Region"}, "text": TEXT}, ("region",)),
    "reconnect": (reconnect, {"text": TEXT, "held": {"type": "boolean"}}, ()),
    "ask_ping": (ask_ping, {}, ()),
    "ask_sampling": (ask_sampling, {"text": TEXT}, ()),
    "ask_elicitation": (ask_elicitation, {"text": TEXT, "token": {}}, ()),
    "ask_roots": (ask_roots, {}, ()),
    "ask_several": (ask_several, {}, ()),
    "ask_rounds": (ask_rounds, {"rounds": COUNT}, ("rounds",)),
    "ask_in_turns": (ask_in_turns, {}, ()),
    "ask_url": (ask_url, {"ticket": TEXT}, ("ticket",)),
    "begin_task": (begin_task, {}, ()),
}

_EXTRAS: dict[str, Message] = {
    "add": {"outputSchema": {"type": "object", "properties": {"sum": NUMBER}, "required": ["sum"]}},
    "echo": {"annotations": {"readOnlyHint": True, "idempotentHint": True}},
}


def describe(name: str) -> Message:
    """The tool as `tools/list` shows it."""
    tool, properties, required = _TOOLS[name]
    schema = {"type": "object", "properties": properties, "required": list(required)}
    description = (tool.__doc__ or f"The tool {name}.").strip()
    return {"name": name, "description": description, "inputSchema": schema, **_EXTRAS.get(name, {})}


ALL = tuple(describe(name) for name in _TOOLS)


def mirrored(name: str) -> dict[str, str]:
    """Arguments of this tool that modern clients must mirror, by the name of the header that carries each."""
    properties = _TOOLS[name][1] if name in _TOOLS else {}
    return {
        f"mcp-param-{schema['x-mcp-header'].lower()}": key
        for key, schema in properties.items()
        if "x-mcp-header" in schema
    }


async def call(exchange: Exchange, name: str, arguments: Message) -> Message:
    """Run a tool. Raises `Refusal` for unknown tools and missing arguments."""
    if name not in _TOOLS:
        raise Refusal(INVALID_PARAMS, f"Unknown tool: {name}")
    tool, _, required = _TOOLS[name]
    if missing := [key for key in required if key not in arguments]:
        raise Refusal(INVALID_PARAMS, f"missing arguments: {', '.join(missing)}")
    session = exchange.request.headers.get("mcp-session-id", "") if exchange.session else ""
    execution = exchange.ledger.run(name, arguments, exchange.request.id, session)
    result = await tool(exchange, arguments)
    execution.finished = True
    return result

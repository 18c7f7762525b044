"""What only the fake can do: its ledger, its switches, its strictness; what it shares with real servers is elsewhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.raw_http import Reply
from tests.support.raw_mcp import Legacy, Modern

SECONDS = 5.0
LOG_LEVEL = "io.modelcontextprotocol/logLevel"

# ---- cancellation ----


async def test_a_closed_stream_is_recorded_as_the_modern_cancellation() -> None:
    async with FakeServer("modern") as server, asyncio.timeout(SECONDS):
        client = Modern(server.url)
        params = {"name": "hold", "arguments": {"gate": "g"}}
        async with client.opened("tools/call", params, progressToken=1) as exchange:
            await anext(exchange.messages())
            assert server.cancelled == []
        await server.until(lambda s: s.cancelled)
        (cancelled,) = server.cancelled
        assert (cancelled.request_id, cancelled.tool, cancelled.how) == (1, "hold", "closed")
        assert not server.executions[0].finished


async def test_a_notification_is_recorded_as_the_legacy_cancellation_and_gets_no_answer() -> None:
    async with FakeServer("legacy", "sse") as server, asyncio.timeout(SECONDS):
        client = Legacy(server.url)
        await client.initialize()
        async with client.opened("tools/call", {"name": "hold", "arguments": {"gate": "g"}}) as exchange:
            await server.until(lambda s: s.executions)
            await client.notify("notifications/cancelled", {"requestId": 2})
            assert [message async for message in exchange.messages()] == []
        assert [cancelled.how for cancelled in server.cancelled] == ["notified"]
        assert server.violations == []


async def test_a_legacy_call_outlives_its_connection() -> None:
    async with FakeServer("legacy", "sse") as server, asyncio.timeout(SECONDS):
        client = Legacy(server.url)
        await client.initialize()
        async with client.opened("tools/call", {"name": "hold", "arguments": {"gate": "g"}}):
            await server.until(lambda s: s.executions)
        await server.until(lambda s: s.open_connections == 0)
        server.release("g")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert server.executions[0].finished
        assert server.cancelled == []


# ---- strictness ----


def _modern(change: Callable[[dict[str, Any], dict[str, str]], None]) -> tuple[bytes, dict[str, str]]:
    body, headers = Modern("").compose("tools/call", {"name": "regional", "arguments": {"region": "eu"}})
    message = json.loads(body)
    headers["Mcp-Param-Region"] = "eu"
    change(message, headers)
    return json.dumps(message).encode(), headers


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda _, headers: headers.pop("MCP-Protocol-Version"), "MCP-Protocol-Version is None"),
        (lambda _, headers: headers.update({"MCP-Protocol-Version": "2025-11-25"}), "MCP-Protocol-Version is"),
        (lambda _, headers: headers.update({"Mcp-Method": "tools/list"}), "Mcp-Method is"),
        (lambda _, headers: headers.pop("Mcp-Name"), "no Mcp-Name"),
        (lambda _, headers: headers.update({"Mcp-Name": "echo"}), "Mcp-Name is"),
        (lambda _, headers: headers.pop("Mcp-Param-Region"), "mcp-param-region is None"),
        (lambda _, headers: headers.update({"Accept": "application/json"}), "Accept is"),
        (lambda _, headers: headers.update({"Content-Type": "text/plain"}), "Content-Type is"),
        (lambda _, headers: headers.update({"Authorization": "Bearer x"}), "authorization header"),
        (lambda _, headers: headers.update({"Cookie": "a=b"}), "cookie header"),
        (lambda _, headers: headers.update({"Mcp-Session-Id": "x"}), "mcp-session-id header in the modern era"),
        (lambda _, headers: headers.update({"MCP-METHOD": "tools/call"}), "header mcp-method is there 2 times"),
        (lambda message, _: message.update(jsonrpc="1.0"), "jsonrpc is '1.0'"),
        (lambda message, _: message.update(id=None), "id is None"),
        (lambda message, _: message.update(extra=1), "unknown envelope keys ['extra']"),
        (lambda message, _: message.update(method="ping"), "ping in the modern era"),
        (lambda message, _: message["params"]["_meta"].clear(), "no io.modelcontextprotocol/protocolVersion in _meta"),
    ],
)
async def test_what_breaks_the_modern_rules_is_put_down_as_a_violation(
    change: Callable[[dict[str, Any], dict[str, str]], None], sentence: str
) -> None:
    async with FakeServer("modern") as server:
        body, headers = _modern(change)
        await raw_http.request("POST", server.url, body, headers)
        assert any(violation.startswith(sentence) for violation in server.violations), server.violations


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/list"}', "duplicate key"),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"a":NaN}}', "body is not JSON"),
        (b"[]", "body is not one JSON object"),
        (b"{", "body is not JSON"),
    ],
)
async def test_what_is_no_proper_json_is_put_down_as_a_violation(body: bytes, sentence: str) -> None:
    async with FakeServer("legacy") as server:
        await raw_http.post(server.url, body)
        assert any(violation.startswith(sentence) for violation in server.violations), server.violations


async def test_what_breaks_the_legacy_rules_is_put_down_as_a_violation() -> None:
    async with FakeServer("legacy") as server:
        early = Legacy(server.url)
        reply = await raw_http.post(server.url, {**_initialize("2025-11-25")})
        early.session = reply.headers["mcp-session-id"]
        await early.request("tools/list")
        early.version = "2025-06-18"
        await early.notify("notifications/initialized")
        await early.request("tools/list", None, **{LOG_LEVEL: "info"})
        await raw_http.post(server.url, _initialize("2025-11-25"), {"Mcp-Session-Id": early.session})
        await raw_http.post(server.url, {"jsonrpc": "2.0", "id": 9, "method": "tools/list"})
        await early.answer(77, {})
        expected = (
            "tools/list before notifications/initialized",
            "MCP-Protocol-Version is '2025-06-18', negotiated was '2025-11-25'",
            f"modern _meta keys ['{LOG_LEVEL}'] in the legacy era",
            "Mcp-Session-Id on initialize",
            "no Mcp-Session-Id on tools/list",
            "an answer to a request that is not open: 77",
            "request id 1 is used again in the same session",
        )
        assert set(expected) <= set(server.violations), server.violations


def _initialize(version: str) -> dict[str, Any]:
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}


async def test_a_modern_probe_of_a_legacy_server_is_no_violation() -> None:
    async with FakeServer("legacy") as server:
        assert (await Modern(server.url).request("server/discover")).status == 400
        assert server.violations == []


async def test_a_foreign_origin_is_forbidden() -> None:
    async with FakeServer("modern") as server:
        body, headers = Modern(server.url).compose("tools/list")
        reply = await raw_http.request("POST", server.url, body, {**headers, "Origin": "https://evil.example"})
        assert reply.status == 403


# ---- what a server says by itself ----


async def test_a_push_reaches_those_who_subscribed_to_it_and_nobody_else() -> None:
    wanted = {"notifications": {"promptsListChanged": True, "resourceSubscriptions": ["fake://greeting"]}}
    async with FakeServer("modern") as server, asyncio.timeout(SECONDS):
        async with Modern(server.url).opened("subscriptions/listen", wanted) as exchange:
            messages = exchange.messages()
            await anext(messages)
            assert server.push("notifications/tools/list_changed") == 0
            assert server.push("notifications/resources/updated", {"uri": "fake://pixel"}) == 0
            assert server.push("notifications/resources/updated", {"uri": "fake://greeting"}) == 1
            pushed = await anext(messages)
            assert pushed["params"]["uri"] == "fake://greeting"
            assert pushed["params"]["_meta"] == {"io.modelcontextprotocol/subscriptionId": 1}
            server.end_subscriptions()
            (last,) = [message async for message in messages]
            assert last["id"] == 1
            assert last["result"]["resultType"] == "complete"
        assert server.violations == []


async def test_a_push_reaches_legacy_clients_on_their_get_stream() -> None:
    async with FakeServer("legacy") as server, asyncio.timeout(SECONDS):
        client = Legacy(server.url)
        await client.initialize()
        assert server.push("notifications/tools/list_changed") == 0
        async with client.listening() as stream:
            await server.until(lambda s: s.streams == 1)
            assert server.push("notifications/resources/updated", {"uri": "fake://greeting"}) == 0
            await client.request("resources/subscribe", {"uri": "fake://greeting"})
            assert server.push("notifications/resources/updated", {"uri": "fake://greeting"}) == 1
            assert (await anext(stream.messages()))["params"] == {"uri": "fake://greeting"}
        await server.until(lambda s: s.streams == 0)
        assert server.violations == []


async def test_a_legacy_server_can_ask_its_client_on_the_get_stream() -> None:
    async with FakeServer("legacy") as server, asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
        client = Legacy(server.url)
        await client.initialize()
        async with client.listening() as stream:
            await server.until(lambda s: s.streams)
            asking = tasks.create_task(server.ask("ping"))
            asked = await anext(stream.messages())
            assert (asked["method"], asked["id"]) == ("ping", 1)
            await client.answer(asked["id"], {"pong": True})
            assert await asking == {"pong": True}


@pytest.mark.parametrize(
    ("tool", "method", "answer", "text"),
    [
        ("ask_ping", "ping", {}, "ping: {}"),
        ("ask_sampling", "sampling/createMessage", {"content": {"type": "text", "text": "42"}}, "sampled: 42"),
        ("ask_elicitation", "elicitation/create", {"action": "accept", "content": {"name": "Bo"}}, "accept: Bo"),
        ("ask_roots", "roots/list", {"roots": [{"uri": "file:///a"}]}, "roots: ['file:///a']"),
    ],
)
async def test_a_legacy_tool_can_ask_its_client_in_mid_call(
    tool: str, method: str, answer: dict[str, Any], text: str
) -> None:
    async with FakeServer("legacy") as server, asyncio.timeout(SECONDS):
        client = Legacy(server.url)
        await client.initialize()
        async with client.opened("tools/call", {"name": tool, "arguments": {}}) as exchange:
            messages = exchange.messages()
            asked = await anext(messages)
            assert asked["method"] == method
            assert (await client.answer(asked["id"], answer)).status == 202
            assert (await anext(messages))["result"]["content"][0]["text"] == text
        assert server.violations == []


async def test_a_modern_tool_that_needs_input_ends_with_the_question_and_takes_the_answer_in_a_retry() -> None:
    async with FakeServer("modern") as server:
        client = Modern(server.url, {"elicitation": {}})
        asked = (await client.call("ask_elicitation")).messages[-1]["result"]
        assert asked["resultType"] == "input_required"
        responses = {"answer": {"action": "accept", "content": {"name": "Bo"}}}
        retry = {"inputResponses": responses, "requestState": asked["requestState"]}
        reply = await client.request("tools/call", {"name": "ask_elicitation", "arguments": {}, **retry})
        assert reply.messages[-1]["result"]["content"][0]["text"] == "accept: Bo"
        assert server.violations == []


async def test_log_messages_come_only_from_the_level_a_modern_request_asks_for() -> None:
    async with FakeServer("modern") as server:
        client = Modern(server.url)
        for level, count in (("", 0), ("warning", 0), ("info", 2), ("debug", 2)):
            meta: dict[str, Any] = {LOG_LEVEL: level} if level else {}
            assert _methods(await client.call("progress", {"steps": 2}, **meta)) == ["notifications/message"] * count


async def test_log_messages_come_only_from_the_level_a_legacy_session_asked_for() -> None:
    async with FakeServer("legacy") as server:
        client = Legacy(server.url)
        await client.initialize()
        assert _methods(await client.call("progress", {"steps": 2})) == []
        await client.request("logging/setLevel", {"level": "info"})
        assert _methods(await client.call("progress", {"steps": 2})) == ["notifications/message"] * 2


def _methods(reply: Reply) -> list[str]:
    return [message["method"] for message in reply.messages if "method" in message]


# ---- switches ----


async def test_forgotten_sessions_are_answered_404_and_a_new_one_can_be_had() -> None:
    async with FakeServer("legacy") as server:
        client = Legacy(server.url)
        await client.initialize()
        server.forget_sessions()
        assert (await client.call("echo", {"text": "hi"})).status == 404
        assert server.executions == []
        await Legacy(server.url).initialize()
        assert len(server.sessions) == 1


async def test_a_stopped_server_refuses_connections_until_it_is_started_on_the_same_port() -> None:
    async with FakeServer("modern") as server:
        client = Modern(server.url)
        await server.stop()
        with pytest.raises(ConnectionRefusedError):
            await client.call("echo", {"text": "hi"})
        await server.start()
        assert (await client.call("echo", {"text": "hi"})).status == 200


@pytest.mark.parametrize("reset", [False, True])
async def test_a_server_that_dies_breaks_off_the_answers_it_was_giving(reset: bool) -> None:
    async with FakeServer("modern") as server, asyncio.timeout(SECONDS):
        params = {"name": "hold", "arguments": {"gate": "g"}}
        async with Modern(server.url).opened("tools/call", params, progressToken=1) as exchange:
            messages = exchange.messages()
            await anext(messages)
            await server.stop(reset=reset)
            with pytest.raises(ConnectionResetError if reset else asyncio.IncompleteReadError):
                await anext(messages)
        assert server.cancelled == []


async def test_idle_sockets_are_closed_and_busy_ones_are_not() -> None:
    async with FakeServer("modern") as server, asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await server.until(lambda s: s.open_connections == 1)
        params = {"name": "hold", "arguments": {"gate": "g"}}
        async with Modern(server.url).opened("tools/call", params, progressToken=1) as exchange:
            messages = exchange.messages()
            await anext(messages)
            assert server.close_idle_sockets() == 1
            assert await reader.read() == b""
            server.release("g")
            assert "result" in await anext(messages)
        writer.close()
        await writer.wait_closed()


async def test_one_connection_takes_one_request_after_the_other() -> None:
    async with FakeServer("modern") as server, asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body, headers = Modern(server.url).compose("server/discover")
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode()
        for _ in range(2):
            writer.write(head + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        assert server.connections == 1
        assert server.count("server/discover") == 2
        writer.close()
        await writer.wait_closed()


async def test_a_body_may_come_in_chunks() -> None:
    async with FakeServer("modern") as server, asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body, headers = Modern(server.url).compose("server/discover")
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"POST /mcp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n{fields}\r\n".encode())
        writer.write(
            b"5\r\n" + body[:5] + b"\r\n" + f"{len(body) - 5:x};x=y\r\n".encode() + body[5:] + b"\r\n0\r\n\r\n"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert server.violations == []
        writer.close()
        await writer.wait_closed()


async def test_the_tool_list_can_come_in_pages() -> None:
    async with FakeServer("modern", page=5) as server:
        client = Modern(server.url)
        names: list[str] = []
        cursor: dict[str, Any] = {}
        while True:
            page = (await client.request("tools/list", cursor)).messages[-1]["result"]
            names += [tool["name"] for tool in page["tools"]]
            if "nextCursor" not in page:
                break
            cursor = {"cursor": page["nextCursor"]}
        assert server.count("tools/list") == 3
        assert names == [tool["name"] for tool in server.catalogue.tools]


async def test_a_server_without_sessions_serves_legacy_clients_all_the_same() -> None:
    async with FakeServer("legacy", sessions=False) as server:
        client = Legacy(server.url)
        assert "mcp-session-id" not in (await client.initialize()).headers
        assert (await client.call("echo", {"text": "hi"})).status == 200
        assert server.violations == []


async def test_a_server_may_know_only_older_revisions() -> None:
    async with FakeServer("legacy", versions=("2025-03-26",)) as server:
        client = Legacy(server.url)
        await client.initialize()
        assert client.version == "2025-03-26"


async def test_a_server_may_offer_no_get_stream() -> None:
    async with FakeServer("legacy", get_stream=False) as server:
        client = Legacy(server.url)
        await client.initialize()
        async with client.listening() as stream:
            assert stream.status == 405


async def test_a_call_closed_in_its_middle_is_carried_on_by_get() -> None:
    async with FakeServer("legacy", "sse", priming=True, retry_ms=7) as server, asyncio.timeout(SECONDS):
        client = Legacy(server.url)
        await client.initialize()
        first = await client.call("reconnect", {"text": "back", "held": True}, progressToken="p")
        assert [event.retry for event in first.events] == [7, None]
        assert all("result" not in message for message in first.messages)
        server.release("reconnect")
        async with client.listening(first.events[-1].id) as rest:
            messages = rest.messages()
            assert (await anext(messages))["params"]["progress"] == 2
            assert (await anext(messages))["result"]["content"][0]["text"] == "back"
        assert server.violations == []


async def test_waiting_for_what_does_not_happen_ends_with_what_did() -> None:
    async with FakeServer("modern") as server:
        await Modern(server.url).request("tools/list")
        with pytest.raises(TimeoutError, match="tools/list"):
            await server.until(lambda s: s.executions, seconds=0.01)


async def test_a_fault_of_the_test_comes_out_of_the_server_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with FakeServer("modern"):
            raise ZeroDivisionError

"""The switches of the fake and its ledger: cancellation, death, sessions, sockets, pages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Legacy, Modern

SECONDS = 5.0
LOG_LEVEL = "io.modelcontextprotocol/logLevel"


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
    async with FakeServer("modern", page=7) as server:
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

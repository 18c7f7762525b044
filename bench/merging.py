"""What it costs to show ten servers of a hundred tools as one: `python -m bench.merging`. Measures the engine, no face.

The servers run in a process of their own and take a while for their lists; the slowest is what nobody can beat.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from mcp_sidecar.call import Call
from mcp_sidecar.directory import Directory, Endpoint, Upstream
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.engine.hold import Hold
from mcp_sidecar.lifecycle import Lifecycle
from mcp_sidecar.logs import Log
from mcp_sidecar.outbound.credentials import Credentials
from mcp_sidecar.outbound.dialer import Dialer
from mcp_sidecar.outbound.link import Ignore
from mcp_sidecar.outbound.pool import Pool
from mcp_sidecar.outbound.probe import Prober
from mcp_sidecar.outbound.ways import Ways
from mcp_sidecar.protocol.handshake import modern_meta
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.settings import AdmissionSettings, HoldSettings, PoolSettings, RetrySettings, UpstreamSettings

SERVERS, TOOLS = 10, 100
DELAY = 0.1  # seconds of the slowest list; the others take tenths of it
ROUNDS = 15
LIST = Request("tools/list", b"1", {}, modern_meta())
ECHO = Request("tools/call", b"1", {"name": b'"t5_7"', "arguments": b'{"text":"hi"}'}, modern_meta())


def result_of(server: int, method: str, ttl_ms: int) -> dict[str, Any]:
    hints = {"resultType": "complete", "ttlMs": ttl_ms, "cacheScope": "public"}
    if method == "server/discover":
        return {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, **hints}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": "hi"}], "resultType": "complete"}
    schema = {"type": "object", "properties": {"text": {"type": "string"}, "count": {"type": "integer"}}}
    # Every tenth name is one that all servers have.
    names = [f"t{server}_{n}" if n % 10 else f"shared_{n}" for n in range(TOOLS)]
    return {
        "tools": [{"name": name, "description": "Does something.", "inputSchema": schema} for name in names],
        **hints,
    }


async def serve(server: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ttl_ms: int) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            message = json.loads(await reader.readexactly(length))
            if message["method"] == "tools/list":
                await asyncio.sleep(DELAY * (server + 1) / SERVERS)
            result = result_of(server, message["method"], ttl_ms)
            body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}, separators=(",", ":")).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def serve_all(ttl_ms: int) -> None:
    """Print the ports, then serve until the input ends."""
    listeners = []
    for server in range(SERVERS):

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: int = server) -> None:
            await serve(server, reader, writer, ttl_ms)

        listeners.append(await asyncio.start_server(accept, "127.0.0.1", 0))
    print(*(listener.sockets[0].getsockname()[1] for listener in listeners), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def engine_of(ports: list[int], tasks: asyncio.TaskGroup) -> tuple[Engine, Dialer]:
    upstreams = []
    for server, port in enumerate(ports):
        name = f"s{server}"
        endpoint = Endpoint(name, "http", "127.0.0.1", port, f"127.0.0.1:{port}", "/mcp")
        upstreams.append(Upstream(name, UpstreamSettings(name=name, url=f"http://127.0.0.1:{port}/mcp"), (endpoint,)))
    lifecycle = Lifecycle(("started",))
    lifecycle.release("started")
    pool = Pool(PoolSettings(), tasks)
    dialer = Dialer(pool, Prober(tasks), Credentials(), Ways(tasks, Log(lambda _: None)))
    hold = Hold(HoldSettings(), tasks)
    return Engine(
        Directory(tuple(upstreams)), dialer, lifecycle, AdmissionSettings(), RetrySettings(), hold, tasks
    ), dialer


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1000


async def measure(ttl_ms: int) -> dict[str, float]:
    command = (sys.executable, "-m", "bench.merging", "--serve", str(ttl_ms))
    pipe = asyncio.subprocess.PIPE
    servers = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert servers.stdout is not None
    assert servers.stdin is not None
    ports = [int(port) for port in (await servers.stdout.readline()).split()]
    try:
        async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
            engine, dialer = engine_of(ports, tasks)

            async def ask(request: Request, server: str) -> Response:
                response = await engine.run(Call("/bench", "rid"), request, server, Ignore())
                assert response.result is not None, response.error
                return response

            def forget() -> None:
                for server in range(SERVERS):
                    engine.offers.forget(f"s{server}")

            figures = {"first list of all": await timed(lambda: ask(LIST, ""))}
            alone, together = [], []
            for _ in range(ROUNDS):
                forget()
                alone.append(await timed(lambda: ask(LIST, f"s{SERVERS - 1}")))
                forget()
                together.append(await timed(lambda: ask(LIST, "")))
            figures["list of the slowest alone"] = statistics.median(alone)
            figures["list of all, nothing kept"] = statistics.median(together)
            warm = [await timed(lambda: ask(LIST, "")) for _ in range(20 * ROUNDS if ttl_ms else ROUNDS)]
            figures["list of all, again"] = statistics.median(warm)
            figures["the slowest hundredth of those"] = sorted(warm)[-max(1, len(warm) // 100)]
            one = [await timed(lambda: ask(LIST, "s0")) for _ in range(20 * ROUNDS if ttl_ms else ROUNDS)]
            figures["list of one, again"] = statistics.median(one)
            named = [
                (await timed(lambda: ask(ECHO, "s5")), await timed(lambda: ask(ECHO, ""))) for _ in range(100 * ROUNDS)
            ]
            figures["call of a tool, server named"] = statistics.median(pair[0] for pair in named)
            figures["call of a tool, server found"] = statistics.median(pair[1] for pair in named)
            engine.offers.close()
            await dialer.shut()
        return figures
    finally:
        servers.stdin.close()
        await servers.wait()


def main() -> None:
    if sys.argv[1:2] == ["--serve"]:
        uvloop.run(serve_all(int(sys.argv[2])))
        return
    for ttl_ms in (600_000, 0):
        print(f"{SERVERS} servers of {TOOLS} tools, the slowest list takes {DELAY * 1000:.0f} ms, ttlMs {ttl_ms}:")
        for name, milliseconds in uvloop.run(measure(ttl_ms)).items():
            print(f"  {name:32} {milliseconds:8.3f} ms")


if __name__ == "__main__":
    main()

"""A whole sidecar in the test's own event loop, on ports of its own; nothing in it is replaced."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self

import grpc.aio

from mcp_sidecar.app import Bound, serve
from mcp_sidecar.discovery.source import Source
from mcp_sidecar.logs import Log
from mcp_sidecar.settings import DrainSettings, ListenSettings, Settings, StartSettings, UpstreamSettings
from mcp_sidecar.v1 import connections_pb2_grpc, engine_pb2_grpc

ON_ANY_PORT = ListenSettings(grpc=("127.0.0.1:0",), http="127.0.0.1:0", health="127.0.0.1:0", metrics="127.0.0.1:0")
COLD = StartSettings(warm=False)  # tests count requests
AT_ONCE = DrainSettings(lame_duck=0.0, grace=2.0)


class Sidecar:
    """`async with Sidecar({"up": fake.url}) as sidecar:`; leaving drains and stops it.

    `settings` replaces sections by name (`pool=PoolSettings(max_connections=1)`). A `source` is where servers are found
    besides. `lines` are its log lines, parsed;
    `engine` and `connections` are stubs on one channel to it.
    """

    def __init__(
        self,
        upstreams: Mapping[str, str | UpstreamSettings],
        *,
        pod_grace: float | None = None,
        source: Source | None = None,
        **settings: Any,
    ) -> None:
        chosen = tuple(
            url if isinstance(url, UpstreamSettings) else UpstreamSettings(name=name, url=url)
            for name, url in upstreams.items()
        )
        sections: dict[str, Any] = {
            "listen": ON_ANY_PORT,
            "drain": AT_ONCE,
            "upstreams": chosen,
            "start": COLD,
        } | settings
        self.settings = dataclasses.replace(Settings(), **sections)
        self.lines: list[dict[str, Any]] = []
        self.bound: Bound = {}
        self._pod_grace = pod_grace
        self._source = source
        self._stop = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        started = asyncio.get_running_loop().create_future()
        log = Log(lambda line: self.lines.append(json.loads(line)), "debug")
        life: dict[str, Any] = {"pod_grace": self._pod_grace, "source": self._source}
        serving = serve(self.settings, log, self._stop, started.set_result, **life)
        self._running = asyncio.create_task(serving, name="sidecar")
        await asyncio.wait({self._running, started}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        if self._running.done():
            self._running.result()
        self.bound = started.result()
        self.channel = grpc.aio.insecure_channel(self.address("grpc"), options=[("grpc.use_local_subchannel_pool", 1)])
        self.engine = engine_pb2_grpc.MCPEngineStub(self.channel)
        self.connections = connections_pb2_grpc.ConnectionManagerStub(self.channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        self.stop()
        await self.stopped()

    def address(self, listener: str) -> str:
        """`host:port` of a listener (`grpc`, `http`, `health`, `metrics`); the first one if there are several."""
        bound = self.bound[listener]
        return bound if isinstance(bound, str) else bound[0]

    def url(self, server: str = "") -> str:
        """The MCP endpoint of one upstream, or of all."""
        return f"http://{self.address('http')}" + (f"/servers/{server}/mcp" if server else "/mcp")

    def stop(self) -> None:
        """What SIGTERM does."""
        self._stop.set()

    async def stopped(self, seconds: float = 30.0) -> None:
        """Return when it has drained and ended; raises what it died of."""
        assert self._running is not None
        async with asyncio.timeout(seconds):
            await asyncio.shield(self._running)

    def calls(self, **fields: Any) -> list[dict[str, Any]]:
        """The log lines of calls whose fields are these."""
        return [
            line
            for line in self.lines
            if line["event"] == "call" and all(line.get(key) == value for key, value in fields.items())
        ]

"""An engine with everything under it, and requests to give it; nothing in it is replaced. Knows no face."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mcp_sidecar.call import Call
from mcp_sidecar.directory import Directory, configured
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
from mcp_sidecar.protocol.baggage import Allowed
from mcp_sidecar.protocol.handshake import modern_meta
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.sampling import Sampler
from mcp_sidecar.settings import (
    AdmissionSettings,
    HoldSettings,
    MergeSettings,
    PoolSettings,
    RetrySettings,
    UpstreamSettings,
)

_MERGED = MergeSettings()
_POOL = PoolSettings()
ERAS = ("modern", "legacy")


class Heard(Ignore):
    """A sink that keeps the notifications it gets, parsed; `until` waits for a number of them."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._more = asyncio.Event()

    async def notify(self, method: str, message: bytes) -> None:
        self.messages.append(json.loads(message))
        assert self.messages[-1]["method"] == method
        self._more.set()

    async def until(self, count: int) -> list[dict[str, Any]]:
        async with asyncio.timeout(5):
            while len(self.messages) < count:
                self._more.clear()
                await self._more.wait()
        return self.messages


@dataclass
class Bench:
    """An engine and what tests look at around it."""

    engine: Engine
    dialer: Dialer
    lifecycle: Lifecycle
    directory: Directory
    calls: list[Call] = field(default_factory=list)

    async def run(self, request: Request, server: str = "", heard: Heard | None = None, **call: Any) -> Response:
        """One request under a fresh call, which `calls` ends with."""
        self.calls.append(Call("/test/Run", "rid", **call))
        async with asyncio.timeout(10):
            return await self.engine.run(self.calls[-1], request, server, heard or Heard())

    async def result(self, request: Request, server: str = "", **call: Any) -> Any:
        """The parsed result; an error response fails the test."""
        response = await self.run(request, server, **call)
        assert response.id == request.id
        assert response.error is None, response.error
        return json.loads(response.result or b"")

    @property
    def call(self) -> Call:
        return self.calls[-1]


def settings(name: str, url: str, **more: Any) -> UpstreamSettings:
    return UpstreamSettings(name=name, url=url, **more)


@asynccontextmanager
async def bench(
    upstreams: Mapping[str, str | UpstreamSettings],
    *,
    attempts: int = 2,
    in_flight: int = 512,
    hold: HoldSettings = HoldSettings(),  # noqa: B008  # frozen
    merge: MergeSettings = _MERGED,
    sampler: Sampler | None = None,
    pool: PoolSettings = _POOL,
    baggage: tuple[str, ...] = (),
) -> AsyncIterator[Bench]:
    """A started engine in front of these upstreams, by name."""
    chosen = [one if isinstance(one, UpstreamSettings) else settings(name, one) for name, one in upstreams.items()]
    lifecycle = Lifecycle(("started",))
    lifecycle.release("started")
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        dialer = Dialer(Pool(pool, tasks), Prober(tasks), Credentials(), Ways(tasks, Log(lambda _: None)))
        directory = Directory(tuple(configured(one) for one in chosen))
        engine = Engine(
            directory,
            dialer,
            lifecycle,
            AdmissionSettings(in_flight=in_flight),
            RetrySettings(attempts=attempts),
            Hold(hold, tasks),
            tasks,
            merge,
        )
        engine.sampler = sampler
        engine.baggage = Allowed(baggage)
        try:
            yield Bench(engine, dialer, lifecycle, directory)
        finally:
            engine.offers.close()
            await dialer.shut()


def request(method: str, meta: Mapping[str, Any] | None = None, /, *, id: Any = 1, **params: Any) -> Request:  # noqa: A002
    """A modern request with `params`, and `meta` beside what the revision requires."""
    raw = {key: json.dumps(value).encode() for key, value in params.items()}
    more = {key: json.dumps(value).encode() for key, value in (meta or {}).items()}
    return Request(method, json.dumps(id).encode(), raw, modern_meta() | more)


def tool(name: str, meta: Mapping[str, Any] | None = None, /, *, id: Any = 1, **arguments: Any) -> Request:  # noqa: A002
    """A `tools/call`."""
    return request("tools/call", meta, id=id, name=name, arguments=arguments)


def text_of(result: Mapping[str, Any]) -> str:
    text: str = result["content"][0]["text"]
    return text

"""A sidecar that reaches a server through another one; knows no test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

PARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
"""A trace context."""


@asynccontextmanager
async def two_sidecars(era: Any, **settings: Any) -> AsyncIterator[tuple[FakeServer, Sidecar, Sidecar]]:
    """A server, the sidecar in front of it, and a sidecar that reaches it through that one."""
    async with FakeServer(era) as up, Sidecar({"far": up.url, "other": up.url}, **settings) as there:
        async with Sidecar({"near": f"grpc://{there.address('grpc')}/far"}) as here:
            yield up, there, here

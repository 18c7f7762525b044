"""A webhook in this process, on loopback, with certificates made for it. Knows no review."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp_sidecar.injection.template import Options
from mcp_sidecar.injection.webhook import WebhookSettings, serve
from mcp_sidecar.logs import Log
from tests.support.certificates import Authority, Mounted

WITHIN = 20


@dataclass
class Webhook:
    """A running webhook and whom its callers trust."""

    port: int
    authority: Authority
    files: Mounted
    stop: asyncio.Event
    lines: list[bytes]

    async def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        return await asyncio.wait_for(asyncio.to_thread(self._ask, method, path, body), WITHIN)

    async def review(self, body: bytes) -> dict[str, Any]:
        status, answer = await self.ask("POST", "/inject?timeout=5s", body)
        assert status == 200
        found: dict[str, Any] = json.loads(answer)["response"]
        return found

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        context = ssl.create_default_context(cadata=self.authority.certificate.decode())
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=WITHIN)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def renew(self) -> None:
        """A certificate of another authority takes the place of the one in use."""
        self.authority = Authority("another")
        issued = self.authority.issue("127.0.0.1")
        self.files.replace(**{"tls.crt": issued.certificate, "tls.key": issued.key})


@asynccontextmanager
async def webhook(folder: Path, options: Options | None = None, lame_duck: float = 0.0) -> AsyncIterator[Webhook]:
    """Serving from the first line of the block to its end."""
    authority = Authority()
    issued = authority.issue("127.0.0.1")
    files = Mounted(folder / "tls", **{"tls.crt": issued.certificate, "tls.key": issued.key})
    settings = WebhookSettings(
        host="127.0.0.1",
        port=0,
        cert_file=str(folder / "tls/tls.crt"),
        key_file=str(folder / "tls/tls.key"),
        own_namespace="mcp-system",
        lame_duck=lame_duck,
    )
    stop, bound, lines = asyncio.Event(), asyncio.get_running_loop().create_future(), list[bytes]()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            serve(settings, options or Options(), Log(lines.append), stop, lambda _, port: bound.set_result(port)),
            name="webhook",
        )
        try:
            yield Webhook(await asyncio.wait_for(bound, WITHIN), authority, files, stop, lines)
        finally:
            stop.set()

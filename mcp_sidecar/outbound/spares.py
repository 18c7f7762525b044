"""HTTP clients on which a server was just asked for its era, kept for the link that mostly follows. Knows no era."""

from __future__ import annotations

import asyncio

from mcp_sidecar.directory import Endpoint
from mcp_sidecar.wire.http_client import HttpClient

Whose = tuple[Endpoint, str]
"""An endpoint and the fingerprint of the credential."""


class Spares:
    """One client at most for each endpoint and credential; one that nobody takes is closed after `seconds`."""

    def __init__(self, seconds: float = 1.0) -> None:
        self._seconds = seconds
        self._kept: dict[Whose, tuple[HttpClient, asyncio.TimerHandle]] = {}

    def keep(self, whose: Whose, client: HttpClient) -> None:
        self._drop(whose)
        timer = asyncio.get_running_loop().call_later(self._seconds, self._drop, whose)
        self._kept[whose] = client, timer

    def take(self, whose: Whose) -> HttpClient | None:
        client, timer = self._kept.pop(whose, (None, None))
        if timer is not None:
            timer.cancel()
        return client

    def _drop(self, whose: Whose) -> None:
        if (client := self.take(whose)) is not None:
            client.close()

    def close(self) -> None:
        for whose in tuple(self._kept):
            self._drop(whose)

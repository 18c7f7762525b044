"""What has changed of servers and of the sidecar as a whole since the last look, a line each. Knows no connection."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

from mcp_sidecar.cli import watch
from mcp_sidecar.cli.status import server_row, versions_of
from mcp_sidecar.cli.tables import plain
from mcp_sidecar.client import SidecarClient

_SERVERS_SECONDS = 5.0  # between looks at the servers: who watches for hours must not fill the log
_BUSY = ("in_flight", "probed")  # of endpoints: what every call changes


class News:
    """What is another than at the last look: the phase, and servers, also those without a connection."""

    def __init__(self, client: SidecarClient, *, as_json: bool) -> None:
        self._client = client
        self._as_json = as_json
        self._phase = "serving"
        self._known: dict[str, dict[str, Any]] = {}
        self._initial = True
        self._looked = -_SERVERS_SECONDS  # at the servers (monotonic)

    async def look(self, *, anew: bool) -> tuple[str, list[str]]:
        """The phase, and a line for each piece of news; all of it `anew` after the sidecar was gone.

        Raises while nobody answers.
        """
        phase, servers = await self._client.phase(), self._known
        # Without a phase nobody may be there at all: that is said by the other call.
        if anew or not phase or time.monotonic() - self._looked >= _SERVERS_SECONDS:
            servers = {server.name: server_row(server) for server in await self._client.list_servers()}
            self._looked = time.monotonic()
        if anew:
            self._phase, self._known, self._initial = "serving", {}, True
        lines = [] if phase in ("", self._phase) else [watch.told(phase, "", as_json=self._as_json)]
        for name, row in servers.items():
            if name not in self._known or _steady(row) != _steady(self._known[name]):
                lines.append(self._line(row))
        lines += [self._line(row, gone=True) for name, row in self._known.items() if name not in servers]
        self._phase, self._known, self._initial = phase or self._phase, servers, False
        return self._phase, lines

    def _line(self, row: dict[str, Any], *, gone: bool = False) -> str:
        if self._as_json:
            shown = {"initial": self._initial, "server": row} | ({"gone": True} if gone else {})
            return json.dumps(shown, ensure_ascii=False)
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        state = "gone" if gone else row["state"]
        parts = (now, "server", row["name"], state, versions_of(row), row["url"], row["last_error"])
        return plain(" ".join(part for part in parts if part))


def _steady(row: dict[str, Any]) -> dict[str, Any]:
    """A server without what every call changes."""
    ends = [{key: value for key, value in end.items() if key not in _BUSY} for end in row["endpoints"]]
    return {key: value for key, value in row.items() if key != "connections"} | {"endpoints": ends}

"""The pages of the admin interface by path, joined from their parts. Knows no part's work."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from mcp_sidecar.admin.deeds import RPC_CALL, RPC_CLOSE, Deeds
from mcp_sidecar.admin.door import JSON, Door, Page, only
from mcp_sidecar.admin.feed import Feed
from mcp_sidecar.admin.files import files
from mcp_sidecar.admin.offered import Offered
from mcp_sidecar.admin.recent import Recent
from mcp_sidecar.admin.snapshot import Snapshots
from mcp_sidecar.directory import Directory
from mcp_sidecar.engine.engine import Engine
from mcp_sidecar.lifecycle import Lifecycle
from mcp_sidecar.outbound.dialer import Dialer
from mcp_sidecar.settings import AdminSettings
from mcp_sidecar.wire.http_server import TEXT, Reply, Request

ADMIN_RPCS = frozenset((RPC_CALL, RPC_CLOSE))
CONNECTIONS = "/api/connections/"
"""Every path below it is one page."""
_EXPOSED = (
    b"The admin page is served on a loopback address, or with authentication.\n"
    b"Set listen.http to 127.0.0.1, or auth.mode to token or jwt; admin.enabled: false takes the page away.\n"
)


class Admin:
    """Hears of calls as they end (`recent.tell`), and has pages about them and everything else."""

    def __init__(self, settings: AdminSettings, version: str, recent: Recent, *, exposed: bool) -> None:
        self._settings = settings
        self._version = version
        self._exposed = exposed
        self.recent = recent

    def pages(
        self, door: Door, *, directory: Directory, dialer: Dialer, lifecycle: Lifecycle, engine: Engine
    ) -> Mapping[str, Page]:
        """Every page; all of them refuse where anybody could look in."""
        process = secrets.token_hex(8)
        snapshots = Snapshots(self._settings, self._version, process, directory, dialer, lifecycle, self.recent)
        snapshots.offers = engine.offers.told.version
        deeds = Deeds(self._settings, process, engine, dialer.pool)

        async def state(request: Request, reply: Reply) -> None:
            if await door.admit(request, reply, "admin/state") is not None:
                reply.send(200, JSON, snapshots.text())

        found = files() | {
            "/api/state": only(b"GET", state),
            "/api/events": only(b"GET", Feed(door, lifecycle, self.recent, snapshots)),
            "/api/tools": only(b"GET", Offered(door, directory, engine, dialer)),
            "/api/call": only(b"POST", door.doing(deeds.call, RPC_CALL)),
            CONNECTIONS: only(b"POST", door.doing(deeds.close, RPC_CLOSE)),
        }
        return dict.fromkeys(found, _refuse) if self._exposed else found


async def _refuse(_request: Request, reply: Reply) -> None:
    reply.send(403, TEXT, _EXPOSED)

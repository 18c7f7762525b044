"""An export in this process, told of calls that never were. Knows no signal's meaning."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from mcp_sidecar.call import Call
from mcp_sidecar.inbound.chain import CallLine
from mcp_sidecar.inbound.metrics import Metrics
from mcp_sidecar.logs import Log
from mcp_sidecar.sampling import Sampler
from mcp_sidecar.settings import TelemetrySettings
from mcp_sidecar.telemetry.export import Export
from tests.inbound.waiting import eventually
from tests.support.otlp import Collector

_USUAL = TelemetrySettings()
NOTED = "mcp_sidecar_retries_total"


class Exporting:
    """An export of all three signals, and how to give it something to send."""

    def __init__(self, collector: Collector, way: str, **settings: Any) -> None:
        usual = {
            "otlp_endpoint": getattr(collector, way),
            "protocol": "grpc" if way == "grpc" else "http/protobuf",
            "logs": True,
        }
        own = {key: type(getattr(_USUAL, key))(**value) for key, value in settings.items() if key.endswith("_to")}
        self.said: list[bytes] = []
        self.metrics = Metrics()
        self.export = Export(TelemetrySettings(**(usual | settings | own)), self.metrics, Log(self.said.append))

    def tell(self, number: int) -> None:
        """So many calls have ended, without a request that was sent for them."""
        for _ in range(number):
            call = Call("/a.B/C", "rid", method="tools/call", name="echo", server="up")
            Sampler(1.0).decide(call)
            trace_id = call.span.trace_id if call.span else ""
            line = CallLine(
                "", "info", "call", call.rpc, call.method, "up", "echo", "OK", "done", 1.0, "rid", trace_id, ""
            )
            self.export.tell([(call, time.monotonic(), None, None)], [line])

    def count(self, number: int) -> None:
        self.metrics.count(NOTED, float(number), reason="LOST")

    async def conserved(self) -> None:
        """What was offered has been delivered or is counted as dropped."""
        for one in self.export.deliveries.values():
            await eventually(lambda one=one: one.offered == one.delivered + one.dropped)  # type: ignore[misc]


@contextlib.asynccontextmanager
async def exporting(
    collector: Collector, way: str, *, closing: float = 3.0, **settings: Any
) -> AsyncIterator[Exporting]:
    """Closed at the end, unless that was done before."""
    made = Exporting(collector, way, **settings)
    try:
        yield made
    finally:
        await made.export.close(closing)
        await made.conserved()

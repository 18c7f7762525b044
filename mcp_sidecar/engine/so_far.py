"""What a call has come to, over all its attempts: the sink of each, the judge of the last. Knows no directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mcp_sidecar.call import Call
from mcp_sidecar.directory import AnyEndpoint
from mcp_sidecar.engine import news
from mcp_sidecar.errors import Execution, SidecarError, Unavailable, UpstreamLost, UpstreamUnavailable
from mcp_sidecar.outbound.connection import Connection
from mcp_sidecar.outbound.link import Sink
from mcp_sidecar.protocol.jsonrpc import Request, Response

if TYPE_CHECKING:
    from mcp_sidecar.engine.offers import Offers


class SoFar(msgspec.Struct, eq=False, gc=False):
    """What a call has come to: a call that has spoken cannot be repeated unheard."""

    sink: Sink
    offers: Offers
    call: Call
    attempts: int = 1
    may_have_run: bool = False
    used: bool = False
    tried: list[AnyEndpoint] = []
    """Where it failed, in order."""

    def note(self, connection: Connection | None) -> None:
        """An attempt has failed, on this connection or before it had one."""
        if connection is not None and connection.key.endpoint not in self.tried:
            self.tried.append(connection.key.endpoint)

    def judged(self, failure: SidecarError) -> SidecarError:
        """The last failure, as that of the whole call."""
        if failure.execution is not Execution.NONE:
            return failure
        message, facts = failure.message, dict(failure.metadata)
        if len(self.tried) > 1 and isinstance(failure, Unavailable):
            message = f"{message} ({len(self.tried)} endpoints tried)"
            facts["endpoints_tried"] = str(len(self.tried))
        elif not self.may_have_run:
            return failure
        if self.may_have_run:
            return UpstreamLost(message, execution=Execution.UNKNOWN, retry_after=failure.retry_after, metadata=facts)
        return UpstreamUnavailable(message, retry_after=failure.retry_after, metadata=facts)

    async def notify(self, method: str, message: bytes) -> None:
        self.used = True
        if method in news.NEWS:
            self.offers.heed(self.call.server, method, message)
        await self.sink.notify(method, message)

    async def ask(self, request: Request) -> Response:
        self.used = self.may_have_run = True  # whoever asks has begun
        self.call.unanswered += 1
        try:
            answer = await self.sink.ask(request)
        except SidecarError:
            self.call.unanswered -= 1
            raise
        self.call.unanswered -= 1  # not for what is cut short: that is what the call has waited for
        return answer

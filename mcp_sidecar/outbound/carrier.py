"""The interface of what carries the messages of a legacy conversation; knows no wire and no client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from mcp_sidecar.call import Call
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.protocol.session import Session

Receive = Callable[[Request], Awaitable[None]]
"""Takes a notification or a question that came before the answer of an exchange."""
Stray = Callable[[Session, Request], None]
"""Takes a notification or a question that belongs to no exchange; never waits."""


class Carrier(Protocol):
    """Carries one session after another; every message names its session.

    Methods raise `SidecarError`s only: `SessionLost` when the server does not know the session any more and nothing of
    the message ran. `call.execution` is kept true.
    """

    transport: str
    handshake_seconds: float
    has_own_stream: bool  # what belongs to no call comes on a stream that has to be opened
    stray: Stray  # set by the conversation before anything is sent

    async def begin(
        self, session: Session, request_id: bytes, message: bytes, call: Call, receive: Receive
    ) -> Response:
        """Send `initialize`, on a wire that knows of no earlier session; the server's answer."""

    async def request(
        self, session: Session, request_id: bytes, message: bytes, call: Call, receive: Receive, *, ours: bool
    ) -> Response:
        """Send a request; the server's answer. What comes before it goes to `receive`, in order.

        `ours`: it is the sidecar's own, such as a ping, and cannot be what a question is about that names no request.
        """

    async def tell(self, session: Session, message: bytes, call: Call) -> None:
        """Send what has no answer: a notification, or an answer of ours."""

    async def hear(self, session: Session, opened: Callable[[], None]) -> None:
        """Have what belongs to no exchange come to `stray` until that ends; `opened` is called when it begins.

        Raises `NoStream` when the server says nothing by itself.
        """

    def close_idle(self, unused_for: float) -> None:
        """Close sockets that were not used for so many seconds."""

    async def end(self, session: Session) -> None:
        """Tell the server that nobody will use a session, where it cannot see that. Never raises; a second at most."""

    async def close(self, session: Session | None) -> None:
        """End the session, if one stands, and the wire. Exchanges end as lost. Takes a second at most."""

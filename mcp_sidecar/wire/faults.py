"""What can go wrong on an HTTP connection, in words. Knows no status codes and no callers."""

from __future__ import annotations


class WireFault(Exception):
    """The root of this package's exceptions. Messages are for logs: they may name addresses."""


class Disconnected(WireFault):
    """The client went away before its answer was complete."""


class ConnectFailed(WireFault):
    """No connection to the origin came about: nothing was sent."""


class ConnectionLost(WireFault):
    """The connection ended in the middle of an exchange.

    `sent`: a byte of the request may have left. `reply_started`: a byte of the reply has arrived.
    """

    def __init__(self, message: str, *, sent: bool, reply_started: bool) -> None:
        super().__init__(message)
        self.sent = sent
        self.reply_started = reply_started


class BadReply(WireFault):
    """The origin's bytes are not one well-formed, unencoded HTTP/1.1 reply."""


class ReplyTooLarge(WireFault):
    """The reply is longer than the client's limits allow."""

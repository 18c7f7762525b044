"""The bounds a listener and a client keep, as numbers. Knows neither sockets nor where the numbers come from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one listener grants its clients. Sizes are bytes, times are seconds."""

    target_bytes: int = 8 * 1024
    """Longest request target; a longer one is answered 414."""
    header_bytes: int = 32 * 1024
    """Names and values of one request's fields together, trailers included; more is answered 431."""
    header_fields: int = 100
    """Fields in one request; more is answered 431."""
    body_bytes: int = 4 * 1024 * 1024
    """Longest request body after unchunking; a longer one is answered 413 before it is read."""
    bodies_bytes: int = 128 * 1024 * 1024
    """Unfinished request bodies of all connections together; a body that does not fit is answered 503."""
    ahead_bytes: int = 64 * 1024
    """Input kept while a request is in progress; beyond it the socket is not read."""
    send_buffer_bytes: int = 64 * 1024
    """Unsent output of one connection at which `Reply.write` starts to wait."""
    header_seconds: float = 10.0
    """Time for a request's head, counted from the first moment bytes are expected."""
    handshake_seconds: float = 10.0
    """Time for a TLS handshake."""
    body_grace_seconds: float = 5.0
    """Length of the window over which the rate of an arriving body is measured."""
    body_rate: float = 500.0
    """Body bytes per second below which, over one window, the request is answered 408."""
    idle_seconds: float = 75.0
    """Time a connection may stay without a request."""
    unread_seconds: float = 60.0
    """Time without a byte of an answer being taken, after which the client is cut off."""
    linger_seconds: float = 2.0
    """Time a refused client gets to read the refusal while what it still sends is thrown away."""
    connections: int = 4096
    connections_per_peer: int = 512
    """Connections from one address; clients of a unix socket have none and are not counted."""

    @property
    def tick_seconds(self) -> float:
        """How often deadlines are looked at: a second, or a tenth of the shortest of them."""
        shortest = min(
            self.header_seconds,
            self.body_grace_seconds,
            self.idle_seconds,
            self.unread_seconds,
            self.linger_seconds,
        )
        return min(1.0, shortest / 10)


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What one client grants the server it calls. Sizes are bytes, times are seconds."""

    connect_seconds: float = 1.0
    """Name lookup and TCP."""
    tls_seconds: float = 3.0
    """The TLS handshake; added to `connect_seconds`."""
    head_bytes: int = 64 * 1024
    """Status line and fields of one reply."""
    reply_bytes: int = 16 * 1024 * 1024
    """Longest body that `Response.read` collects."""
    buffer_bytes: int = 256 * 1024
    """Body bytes that wait for their reader before the socket is no longer read."""
    interim_replies: int = 16
    """1xx replies skipped in front of the real one."""
    unacknowledged_seconds: float = 15.0
    """TCP_USER_TIMEOUT: sent bytes may stay unacknowledged this long."""
    probe_idle_seconds: int = 10
    """Silence after which TCP keep-alive probes start, then one every `probe_interval_seconds`."""
    probe_interval_seconds: int = 3
    probe_count: int = 3

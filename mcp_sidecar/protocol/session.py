"""One legacy conversation as tables: ids and progress tokens in flight, log level; knows no wire."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mcp_sidecar.errors import InvalidParams
from mcp_sidecar.protocol.jsonrpc import Request, as_string

# RFC 5424 severities, most talkative first (MCP, server/utilities/logging).
LOG_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


def check_level(level: str | None, place: str) -> None:
    """Raises `InvalidParams`, which names the `place` it stands in, for a level that does not exist."""
    if level not in LOG_LEVELS:
        what = f"must be one of {', '.join(LOG_LEVELS)}"
        raise InvalidParams(f'"{place}" {what}', violations=((place, what),))


_SHOWN = 16


def shown(session_id: bytes) -> str:
    """What traces call a session: whoever has its id may speak in it. Empty for an empty id."""
    return hashlib.sha256(session_id).hexdigest()[:_SHOWN] if session_id else ""


@dataclass(slots=True)
class Session:
    """What a link has to remember between two requests of a 2025-era server.

    `id` is the value of `Mcp-Session-Id`, empty for servers that keep no sessions, and `shown` what traces call it;
    `subscribers` counts who wants to hear of each resource (URIs as JSON text).
    """

    version: str
    id: bytes = b""
    shown: str = ""
    log_level: str = ""
    subscribers: Counter[bytes] = field(default_factory=Counter)
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _tokens: dict[bytes, bytes] = field(default_factory=dict)
    _asked: dict[bytes, bytes] = field(default_factory=dict)

    def register(self, request: Request) -> tuple[bytes, Request]:
        """An id of ours for a request, and the request with a progress token of ours if it carries one.

        Both are shared by every caller of the session, so the callers' own would collide.
        """
        request_id = b"%d" % next(self._ids)
        token = request.meta.get("progressToken")
        if token is None:
            return request_id, request
        self._tokens[request_id] = token
        return request_id, request.with_meta({"progressToken": request_id})

    def release(self, request_id: bytes) -> None:
        """The request has ended: its progress token means nothing any more."""
        self._tokens.pop(request_id, None)

    def restore(self, notification: Request) -> Request | None:
        """A progress notification with the caller's own token, or None when it belongs to no request in flight."""
        token = self._tokens.get(notification.params.get("progressToken", b""))
        if token is None:
            return None
        return notification.with_params({"progressToken": token})

    @contextmanager
    def asking(self, question: Request, token: bytes) -> Iterator[Request]:
        """The question as a client is asked it: `token` stands for the server's own progress token if it has one.

        A client may be asked by several servers at once, whose tokens would collide.
        """
        own = question.meta.get("progressToken")
        if own is None:
            yield question
            return
        self._asked[token] = own
        try:
            yield question.with_meta({"progressToken": token})
        finally:
            del self._asked[token]

    def reported(self, progress: Request) -> Request | None:
        """A client's progress with the server's own token, or None when it is about no open question of the server."""
        own = self._asked.get(progress.params.get("progressToken", b""))
        return None if own is None else progress.with_params({"progressToken": own})

    def wants_level(self, level: str) -> bool:
        """The server must be asked to log more than it was so far."""
        return level in LOG_LEVELS and (
            not self.log_level or LOG_LEVELS.index(level) < LOG_LEVELS.index(self.log_level)
        )


def loud_enough(notification: Request, level: str) -> bool:
    """A log message is at least as severe as `level`; unknown levels pass."""
    said = as_string(notification.params.get("level"))
    if said not in LOG_LEVELS or level not in LOG_LEVELS:
        return True
    return LOG_LEVELS.index(said) >= LOG_LEVELS.index(level)

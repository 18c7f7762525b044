"""Conversations with 2025-era clients as a bounded table. Knows no wire and no upstream.

Source: MCP 2025-11-25, basic/transports, "Session Management".
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from mcp_sidecar.call import Client
from mcp_sidecar.errors import Overloaded, UnknownSession
from mcp_sidecar.inbound.http.streams import EventLog, Room
from mcp_sidecar.inbound.session.session import Outlet, Session
from mcp_sidecar.protocol.eras import LATEST_LEGACY
from mcp_sidecar.protocol.session import shown

_SECRET_BYTES = 24
_RETRY_SECONDS = 10.0
_SHORT_SECONDS = 1.0  # what is over sooner needs no second entry


class Bond(NamedTuple):
    """Whose a session is: the caller, and the upstream that the path names (empty for all)."""

    subject: str
    server: str


class HttpSession(Session):
    """One conversation. `id` is a secret; `used` is when it was used last, in seconds on the table's clock."""

    __slots__ = ("_log", "_room", "bond", "id", "used")

    def __init__(self, client: Client, bond: Bond, offered: tuple[str, ...], room: Room) -> None:
        super().__init__(client, bond.server, offered)
        self.id = secrets.token_urlsafe(_SECRET_BYTES)
        client.session = shown(self.id.encode())
        self.bond = bond
        self.used = 0.0
        self._room = room
        self._log: EventLog | None = None

    @property
    def log(self) -> EventLog:
        """What the client was sent as events; made when there is the first one."""
        if self._log is None:
            self._log = EventLog(self._room, priming=self.client.version == LATEST_LEGACY)
        return self._log

    @property
    def outlet(self) -> Outlet:
        return self.log.news

    @property
    def busy(self) -> bool:
        """Somebody waits for something of it: it may not be ended for want of use."""
        return bool(self.calls) or (self._log is not None and self._log.news.carried)

    def close(self) -> None:
        """The conversation is over: its calls are cancelled, its streams end."""
        super().close()
        if self._log is not None:
            self._log.close()


class Sessions:
    """All conversations, at most `most`; those not used for `idle` seconds are over. Time comes from outside."""

    def __init__(self, most: int, idle: float) -> None:
        self._most = most
        self._idle = idle
        self._by_id: OrderedDict[str, HttpSession] = OrderedDict()  # the one used longest ago first

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[HttpSession]:
        return iter(tuple(self._by_id.values()))

    def open(self, session: HttpSession, now: float) -> HttpSession | None:
        """Enter a conversation; returns the one that had to go for it. Raises `Overloaded` when all are in use."""
        loser = None
        if len(self._by_id) >= self._most:
            loser = next((one for one in self._by_id.values() if not one.busy), None)
            if loser is None:
                words = f"{self._most} sessions are in use, the most allowed (http.max_sessions)"
                raise Overloaded(words, retry_after=_RETRY_SECONDS)
            del self._by_id[loser.id]
        self._by_id[session.id] = session
        session.used = now
        return loser

    def find(self, session_id: str, bond: tuple[str, str], now: float) -> HttpSession:
        """The conversation with this id, which is used herewith. Raises `UnknownSession`, also for somebody else's."""
        session = self._by_id.get(session_id)
        if session is None or session.bond != bond or self._is_over(session, now):
            raise UnknownSession("there is no such session; begin a new one with initialize")
        self.touch(session, now)
        return session

    def touch(self, session: HttpSession, now: float) -> None:
        """A conversation is in use."""
        if session.id in self._by_id:
            session.used = now
            self._by_id.move_to_end(session.id)

    def used(self, session: HttpSession, now: float) -> None:
        """A conversation was in use until now, since it was found."""
        if now - session.used > _SHORT_SECONDS:
            self.touch(session, now)

    def remove(self, session: HttpSession) -> None:
        """A conversation has ended."""
        self._by_id.pop(session.id, None)

    def expire(self, now: float) -> list[HttpSession]:
        """Take out those that are over."""
        over = []
        for session in self._by_id.values():
            if now - session.used < self._idle:
                break  # the others were used later
            if not session.busy:
                over.append(session)
        for session in over:
            del self._by_id[session.id]
        return over

    def _is_over(self, session: HttpSession, now: float) -> bool:
        return not session.busy and now - session.used >= self._idle

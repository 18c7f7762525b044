"""The connections to MCP servers: who may use which, who has to wait, who has to go. Knows neither wires nor eras.

The whole policy is `_assign`, a plain function: it looks at the waiting calls and at the connections, hands out what it
can and returns what has to be opened and closed. Everything that waits is elsewhere.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mcp_sidecar.call import Deadline
from mcp_sidecar.directory import AnyEndpoint
from mcp_sidecar.errors import PoolExhausted, SidecarError, UnknownConnection, UpstreamUnavailable
from mcp_sidecar.outbound.connection import Connection, Key, Row, State, describe
from mcp_sidecar.outbound.link import Link
from mcp_sidecar.outbound.measures import UNMEASURED, Measures
from mcp_sidecar.outbound.places import is_full, patience, takes_place
from mcp_sidecar.settings import PoolSettings

Watcher = Callable[[Row], None]
_TICK_SECONDS = 1.0
_CONNECTING = State.CONNECTING  # looking a member up in its class costs as much as a call
# The refusal has to reach the caller before its deadline does, or it would only see the deadline.
_REFUSAL_SECONDS = 0.1


def vanished(endpoint: AnyEndpoint) -> UpstreamUnavailable:
    """An endpoint went away while a call was on its way to it."""
    message = f"an endpoint of the MCP server {endpoint.upstream!r} went away"
    return UpstreamUnavailable(message, metadata={"server": endpoint.upstream})


@dataclass(slots=True, eq=False)
class _Waiter:
    key: Key
    open_link: Callable[[], Link]
    alone: bool
    granted: asyncio.Future[Connection] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Pool:
    """Leases connections by key. The least recently used idle one makes room for another, a client's own session only
    when there is no other; a busy one never does. What takes a place is for `places` to say.

    `tasks` owns the opening and closing of links. Watchers are called with the row after every change.
    """

    def __init__(self, settings: PoolSettings, tasks: asyncio.TaskGroup) -> None:
        self._settings = settings
        self._tasks = tasks
        self._connections: dict[Key, Connection] = {}
        self._leaving: list[Connection] = []  # busy ones that take no new calls; those go to a successor
        self._at: dict[AnyEndpoint, list[Connection]] = {}  # both kinds, by where they lead
        self._homes: dict[tuple[str, str], Connection] = {}  # by client and upstream: where its own session is
        self._waiting: list[_Waiter] = []
        self._watchers: list[Watcher] = []
        self._names = itertools.count(1)
        self.measures: Measures = UNMEASURED

    def ready(self, key: Key | tuple[AnyEndpoint, str, bytes, str, int]) -> Connection | None:
        """Lease the connection of `key` if it stands; the fast path of `acquire`."""
        connection = self._connections.get(key)  # type: ignore[arg-type]  # equal and hashed alike
        if connection is None or connection.state is _CONNECTING or connection.closing:
            return None
        connection.in_flight += 1
        connection.calls += 1
        return connection

    async def acquire(
        self, key: Key, open_link: Callable[[], Link], deadline: Deadline, *, alone: bool = False
    ) -> Connection:
        """Lease the connection of `key`, opened with `open_link` if there is none. Give it back with `release`.

        `alone`: no other such call may be on it; there are as many connections of the key then as such calls at once.
        Raises `PoolExhausted` when none comes free before the deadline, or why the link could not be opened.
        """
        connection = None if alone else self.ready(key)
        if connection is not None:
            return connection
        waiter = _Waiter(key, open_link, alone)
        self._waiting.append(waiter)
        self._assign()
        if waiter.granted.done():
            return waiter.granted.result()
        began = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, deadline.remaining() - _REFUSAL_SECONDS)):
                return await waiter.granted
        except TimeoutError as error:
            if waiter.granted.done() and not waiter.granted.cancelled():
                return waiter.granted.result()  # in the same moment: whether there is time left is the caller's to say
            self._withdraw(waiter)
            raise self._exhausted(key) from error
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise
        finally:
            self.measures.waited(time.monotonic() - began)

    def _exhausted(self, key: Key) -> SidecarError:
        if (connection := self._connections.get(key)) is not None and connection.state is State.CONNECTING:
            return UpstreamUnavailable(f"the MCP server {key.upstream!r} did not connect in time")
        return PoolExhausted(
            f"every one of the {self._settings.max_connections} connections is busy"
            f" (pool.max_connections, pool.max_per_endpoint)",
            retry_after=1.0,
            metadata={"server": key.upstream},
        )

    def _withdraw(self, waiter: _Waiter) -> None:
        """Nobody waits any more; a lease granted in the same moment goes back."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        if waiter.granted.done() and not waiter.granted.cancelled() and waiter.granted.exception() is None:
            self.release(waiter.granted.result(), sharing=not waiter.alone)

    def release(self, connection: Connection, *, heard: bool = False, sharing: bool = False) -> None:
        """Give a lease back; `heard`: the server answered. `sharing`: it is not the one of who has it alone."""
        connection.in_flight -= 1
        ends = connection.alone and not sharing
        if ends:
            connection.alone = False
        connection.used_at = time.monotonic()
        if heard:
            connection.heard_at = connection.used_at
        if connection.in_flight == 0 and connection.closing:
            self._drop(connection)
        if self._waiting and (ends or connection.in_flight == 0):
            self._assign()

    def _lease(self, connection: Connection, *, alone: bool) -> Connection:
        connection.in_flight += 1
        connection.calls += 1
        connection.alone = connection.alone or alone
        return connection

    def _assign(self) -> None:
        """Serve the waiting calls, oldest first, as far as connections and limits allow."""
        promised: set[Key] = set()  # what is being opened for an older one that wants it alone
        for waiter in tuple(self._waiting):
            key = self._lane(waiter.key, promised) if waiter.alone else waiter.key
            connection = None if key is None else self._connections.get(key)
            if key is not None and connection is None:
                connection = self._make(key, waiter.open_link)
            elif connection is not None and connection.state is not State.CONNECTING and not connection.closing:
                self._waiting.remove(waiter)
                if not waiter.granted.done():
                    waiter.granted.set_result(self._lease(connection, alone=waiter.alone))
            if waiter.alone and connection is not None:
                promised.add(connection.key)

    def _lane(self, key: Key, promised: set[Key]) -> Key | None:
        """The connection for a call that wants one alone: one that stands, else one that opens, else one to be made."""
        opening = missing = None
        for lane in range(self._settings.max_per_endpoint):
            candidate = key._replace(lane=lane)
            connection = self._connections.get(candidate)
            if connection is None:
                missing = missing or candidate
            elif not connection.alone and candidate not in promised:
                if connection.state is not State.CONNECTING:
                    return candidate
                opening = opening or candidate
        return opening or missing

    def _make(self, key: Key, open_link: Callable[[], Link]) -> Connection | None:
        """Open a connection that is needed, if there is room or room can be made."""
        if not self._has_room(key) and not self._evict(key):
            return None
        connection = Connection(f"c{next(self._names)}", key, open_link())
        self._connections[key] = connection
        self._at.setdefault(key.endpoint, []).append(connection)
        if key.client:
            self._homes[key.client, key.upstream] = connection
        self._tell(connection)
        self._tasks.create_task(self._open(connection), name=f"open {connection.id}")
        return connection

    @property
    def waiting(self) -> int:
        """How many calls wait for a connection."""
        return len(self._waiting)

    def load(self, endpoint: AnyEndpoint) -> int:
        """How many calls are in flight there."""
        return sum(connection.in_flight for connection in self._at.get(endpoint, ()))

    def home(self, client: str, upstream: str) -> AnyEndpoint | None:
        """Where the session is that is a client's own."""
        connection = self._homes.get((client, upstream))
        return None if connection is None else connection.key.endpoint

    def _has_room(self, key: Key) -> bool:
        return not (
            is_full(self._at.get(key.endpoint, ()), self._settings.max_per_endpoint)
            or is_full(self.connections(), self._settings.max_connections)
        )

    def _evict(self, key: Key) -> bool:
        """Close the least recently used idle connection, of the same endpoint if that is what is full."""
        here = self._at.get(key.endpoint, [])
        full = is_full(here, self._settings.max_per_endpoint)
        candidates = here if full else list(self._connections.values())
        idle = min((one for one in candidates if one.idle and takes_place(one)), key=patience, default=None)
        if idle is None:
            return False
        idle.last_error = ""
        self._drop(idle)
        return self._has_room(key)

    async def _open(self, connection: Connection) -> None:
        try:
            await connection.link.open()
        except SidecarError as error:
            self._fail(connection, error)
        else:
            self.report(connection, None)
            self._assign()

    def _fail(self, connection: Connection, error: SidecarError) -> None:
        """A link that could not be opened is nobody's connection; whoever waits for it learns why."""
        connection.last_error = error.message
        if connection.state is State.CLOSED:
            return  # by somebody's wish, which is why it failed: who waits for this key waits for its successor
        self._drop(connection)
        for waiter in self._served_by(connection):
            self._waiting.remove(waiter)
            if not waiter.granted.done():
                waiter.granted.set_exception(error)
        self._assign()

    def _served_by(self, connection: Connection) -> list[_Waiter]:
        """Who waits for a connection: all who would share it, and one of those who want one alone."""
        sharing = [one for one in self._waiting if one.key == connection.key and not one.alone]
        first = connection.key._replace(lane=0)
        return sharing + [one for one in self._waiting if one.key == first and one.alone][:1]

    def report(self, connection: Connection, error: SidecarError | None) -> None:
        """Tell what an exchange or a check found out: None is success, an error means that the path is broken."""
        if connection.state is State.CLOSED:
            return
        now = time.monotonic()
        if error is None:
            connection.heard_at = now
            if connection.state is State.CONNECTED:
                return
            connection.failures, connection.last_error = 0, ""
            self._change(connection, State.CONNECTED)
        else:
            connection.last_error = error.message
            if connection.state is not State.DISCONNECTED:
                connection.retry_at = now
                self._change(connection, State.DISCONNECTED)

    def _change(self, connection: Connection, state: State) -> None:
        connection.state = state
        connection.since = time.time()
        self._tell(connection)

    def _drop(self, connection: Connection) -> None:
        self._withhold(connection)
        if connection in self._leaving:
            self._leaving.remove(connection)
        self._unlist(connection)
        if connection.state is not State.CLOSED:
            self._change(connection, State.CLOSED)
            self._tasks.create_task(self._close(connection), name=f"close {connection.id}")

    def _withhold(self, connection: Connection) -> None:
        """No call finds it any more."""
        if self._connections.get(connection.key) is connection:
            del self._connections[connection.key]

    def _unlist(self, connection: Connection) -> None:
        here = self._at.get(connection.key.endpoint, [])
        if connection in here:
            here.remove(connection)
        if not here:
            self._at.pop(connection.key.endpoint, None)
        whose = (connection.key.client, connection.key.upstream)
        if self._homes.get(whose) is connection:
            del self._homes[whose]

    async def _close(self, connection: Connection) -> None:
        await connection.link.close()

    def close(self, connection_id: str, *, wait: bool) -> Row:
        """Close a connection; with `wait`, once its calls have ended. Raises `UnknownConnection`."""
        connection = self._find(connection_id)
        connection.closing = True
        if not wait or connection.in_flight == 0:
            self._drop(connection)
        elif connection not in self._leaving:
            self._withhold(connection)
            self._leaving.append(connection)
        self._assign()
        return describe(connection)

    def _find(self, connection_id: str) -> Connection:
        for connection in self.connections():
            if connection.id == connection_id:
                return connection
        raise UnknownConnection(
            f"no connection is called {connection_id!r}", metadata={"connection": connection_id[:64]}
        )

    def close_upstream(self, upstream: str) -> None:
        """Close what is idle of an upstream now and the rest when its calls have ended."""
        for connection in [one for one in self.connections() if one.key.upstream == upstream]:
            self.close(connection.id, wait=True)

    def retire(self, endpoint: AnyEndpoint) -> frozenset[str]:
        """The endpoint is gone for good: its calls may finish, who waits for it is told. The ids of its connections.

        Nobody may ask for a connection to it any more.
        """
        for waiter in [waiter for waiter in self._waiting if waiter.key.endpoint is endpoint]:
            self._waiting.remove(waiter)
            if not waiter.granted.done():
                waiter.granted.set_exception(vanished(endpoint))
        ids = frozenset(connection.id for connection in self._at.get(endpoint, ()))
        for connection_id in ids:
            self.close(connection_id, wait=True)
        return ids

    def close_of(self, client: str) -> None:
        """Close the connections that were one client's own; nobody calls on them any more."""
        for connection in self.of_client(client):
            self.close(connection.id, wait=False)

    def of_client(self, client: str) -> tuple[Connection, ...]:
        """The connections that are one client's own."""
        return tuple(one for one in self.connections() if one.key.client == client)

    def connections(self) -> tuple[Connection, ...]:
        return (*self._leaving, *self._connections.values())

    def rows(self) -> tuple[Row, ...]:
        """Every connection, in order of age."""
        ranks = self._ranks()
        rows = [describe(connection, ranks.get(connection.id, -1)) for connection in self.connections()]
        return tuple(sorted(rows, key=lambda row: int(row.id[1:])))

    def _ranks(self) -> dict[str, int]:
        """The idle connections by id, in the order in which they would have to go."""
        idle = sorted((one for one in self._connections.values() if one.idle), key=patience)
        return {one.id: rank for rank, one in enumerate(idle)}

    def row(self, connection_id: str) -> Row:
        """One connection. Raises `UnknownConnection`."""
        self._find(connection_id)
        return next(row for row in self.rows() if row.id == connection_id)

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Call `watcher` after every change; returns what ends that."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def _tell(self, connection: Connection) -> None:
        row = describe(connection, self._ranks().get(connection.id, -1))
        for watcher in tuple(self._watchers):
            watcher(row)

    def tick(self, now: float) -> None:
        """Close the sockets and the sessions that nobody used for long enough; a client's own end with that client."""
        for connection in self.connections():
            connection.link.close_idle(self._settings.idle)
            shared = connection.idle and not connection.key.client
            if shared and now - connection.used_at > self._settings.session_idle:
                self._drop(connection)

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self.tick(time.monotonic())

    async def shut(self) -> None:
        """Close every connection, in parallel; each takes a second at most."""
        connections = self.connections()
        self._connections.clear()
        self._leaving.clear()
        self._at.clear()
        self._homes.clear()
        for connection in connections:
            self._change(connection, State.CLOSED)
        await asyncio.gather(*(self._close(connection) for connection in connections))

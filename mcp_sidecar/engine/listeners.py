"""The subscriptions that are up: how many there may be, and what ends them. Knows neither servers nor messages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import NamedTuple

from mcp_sidecar.call import Call
from mcp_sidecar.errors import DeadlineExceeded, Execution, SidecarError
from mcp_sidecar.lifecycle import Lifecycle, Phase
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.protocol.subscriptions import graceful_end

Refuse = Callable[[int], SidecarError]
"""Why there may be no more than so many."""


class _Listener(NamedTuple):
    call: Call
    scope: asyncio.Timeout


class Listeners:
    """A subscription lasts until its caller or the server ends it, its endpoint is gone, or the sidecar drains.

    The last two end it gracefully: whoever still wants to hear subscribes again. Its deadline is a failure.
    """

    def __init__(self, lifecycle: Lifecycle, most: int, refuse: Refuse) -> None:
        self._lifecycle = lifecycle
        self._most = most
        self._refuse = refuse
        self._up: set[_Listener] = set()

    async def hear(self, call: Call, request: Request, hearing: Coroutine[None, None, Response]) -> Response:
        """One subscription, from its admission to its end."""
        full = len(self._up) >= self._most and not call.part
        if not self._lifecycle.admitting or full:
            hearing.close()
            raise self._refuse(len(self._up))
        end = None if call.deadline is None else call.deadline.remaining()
        try:
            async with asyncio.timeout(end) as scope:
                due = scope.when()
                listener = _Listener(call, scope)
                self._up.add(listener)
                unsubscribe = self._lifecycle.subscribe(lambda phase: _end_when_draining(scope, phase))
                try:
                    return await hearing
                finally:
                    unsubscribe()
                    self._up.discard(listener)
        except TimeoutError:
            call.execution = Execution.DONE
            if due is not None and scope.when() == due:
                raise DeadlineExceeded("the deadline passed", execution=Execution.DONE) from None
            return graceful_end(request.id)

    def leave(self, connections: frozenset[str]) -> None:
        """End those on these connections."""
        for listener in tuple(self._up):
            if listener.call.connection_id in connections:
                _end(listener.scope)


def _end_when_draining(scope: asyncio.Timeout, phase: Phase) -> None:
    if phase is Phase.DRAINING:
        _end(scope)


def _end(scope: asyncio.Timeout) -> None:
    if not scope.expired():
        scope.reschedule(asyncio.get_running_loop().time())

"""Waits for the servers without which nobody may start: until each has listed its tools. Knows no probe."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from mcp_sidecar.call import Call, Deadline, new_request_id
from mcp_sidecar.engine.catalogue import Runs, list_tools
from mcp_sidecar.errors import SidecarError
from mcp_sidecar.logs import Log
from mcp_sidecar.outbound.backoff import Backoff

_PAUSE = Backoff(first=0.1, longest=2.0)
_ANSWER_SECONDS = 10.0


class Required:
    """`names` are the servers, `seconds` the time after which the log says who is missing.

    It goes on waiting then: who ends a start that takes too long is whoever runs the sidecar, such as the kubelet with
    its startup probe.
    """

    def __init__(self, engine: Runs, names: Iterable[str], seconds: float, log: Log) -> None:
        self._engine = engine
        self._missing = dict.fromkeys(names, "not asked yet")
        self._seconds = seconds
        self._log = log

    async def listed(self) -> None:
        """Return when all of them have."""
        complaint = asyncio.get_running_loop().call_later(self._seconds, self._complain)
        try:
            async with asyncio.TaskGroup() as group:
                for name in tuple(self._missing):
                    group.create_task(self._wait_for(name), name=f"require {name}")
        finally:
            complaint.cancel()

    async def _wait_for(self, name: str) -> None:
        failures = 0
        while name in self._missing:
            call = Call("start", new_request_id(), deadline=Deadline.after(_ANSWER_SECONDS), part=True, sampled=False)
            try:
                await list_tools(self._engine, call, name)
            except SidecarError as error:
                failures += 1
                self._missing[name] = error.message
                await asyncio.sleep(_PAUSE.delay(failures))
            else:
                del self._missing[name]

    def _complain(self) -> None:
        self._log.error(
            "start",
            error=f"required servers have not listed their tools within {self._seconds:g} s (start.require,"
            " start.timeout); startup stays NOT_SERVING until they do",
            missing=dict(self._missing),
        )

"""Asks a program over its standard streams which era it speaks; knows no pool and no HTTP.

Any refusal that is not modern, and silence, and the end of the program, lead to `initialize` (MCP 2026-07-28,
basic/transports/stdio). Programs may take long to start, which looks like silence: so after a while `initialize` is
sent too, and whichever is answered first decides.
"""

from __future__ import annotations

import asyncio
import dataclasses

from mcp_sidecar.call import Call
from mcp_sidecar.errors import InvalidCall, SidecarError, UpstreamLost, UpstreamUnavailable
from mcp_sidecar.outbound.launcher import Launcher
from mcp_sidecar.outbound.probe import PROBE_ID, Verdict, judge_answer
from mcp_sidecar.outbound.stdio import Child
from mcp_sidecar.protocol.eras import LATEST_LEGACY
from mcp_sidecar.protocol.handshake import discover_request, initialize_request
from mcp_sidecar.protocol.jsonrpc import Message, Response, parse

SILENCE_SECONDS = 3.0
START_SECONDS = 30.0
_INITIALIZE_ID = b'"probe-initialize"'


async def ask(launcher: Launcher, upstream: str) -> Verdict:
    """Start the program and ask it; where that does it no harm, the child is kept for the link.

    Raises `UpstreamUnavailable` when it cannot be started or says nothing at all.
    """
    child = await launcher.start(trial=True)
    asking = _Asking(child)
    keep = False
    try:
        async with asyncio.timeout(START_SECONDS):
            verdict = judge_answer(await asking.answer(), upstream)
        keep = asking.clean
    except TimeoutError as error:
        message = f"the MCP server {upstream!r} said nothing within {START_SECONDS:g} s"
        raise UpstreamUnavailable(message, metadata={"server": upstream}) from error
    finally:
        if keep:
            launcher.keep(child)
        else:
            await child.close()
    # A program does not become another one while the sidecar runs.
    return dataclasses.replace(verdict, until=float("inf"))


class _Asking:
    """The questions to one child. It is clean while it was sent nothing but `server/discover`."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._call = Call(rpc="probe", request_id="probe")
        self.clean = True

    async def answer(self) -> Message | None:
        """The answer to `server/discover`, None when there will be none."""
        try:
            await self._child.send(discover_request().encode(PROBE_ID), self._call)
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    return await self._next()
            except TimeoutError:
                self.clean = False
            initialize = initialize_request(LATEST_LEGACY, b"{}")
            await self._child.send(initialize.encode(_INITIALIZE_ID), self._call)
            said = await self._next()
            return None if said.id == _INITIALIZE_ID else said
        except SidecarError:  # gone, or out of its mind: it is to be started again and initialised first
            self.clean = False
            return None

    async def _next(self) -> Response:
        """The next answer to one of the questions."""
        while True:
            try:
                message = parse(await self._child.receive())
            except InvalidCall as error:
                raise UpstreamLost("it sent what is no message") from error
            if isinstance(message, Response) and message.id in (PROBE_ID, _INITIALIZE_ID):
                return message

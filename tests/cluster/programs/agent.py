"""An agent that calls a tool through the sidecar of its pod, over and over, and writes what came of each call.

SERVER    the upstream to call (default: the only one)      TOOL     the tool to call (default record)
WAY       grpc or http                                      CALLERS  how many call at once (default 1)
CALLS     end after so many calls each (default: SIGTERM)   PAUSE    seconds between two calls of one caller
SECONDS   how long the tool shall take                      LINGER   seconds between SIGTERM and the end
STAY      go on living after the last call as long as this file is not there (default: do not)
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from mcp import Client

from mcp_sidecar.client import SidecarClient
from tests.cluster.programs.ledger import Ledger

Call = Callable[[dict[str, object]], Awaitable[bool]]

SERVER = os.environ.get("SERVER", "")
TOOL = os.environ.get("TOOL", "record")
WAY = os.environ.get("WAY", "grpc")
CALLERS = int(os.environ.get("CALLERS", "1"))
CALLS = int(os.environ.get("CALLS", "0"))
PAUSE = float(os.environ.get("PAUSE", "0.1"))
SECONDS = float(os.environ.get("SECONDS", "0"))
LINGER = float(os.environ.get("LINGER", "0"))
STAY = os.environ.get("STAY", "")


@contextlib.asynccontextmanager
async def over_grpc() -> AsyncIterator[Call]:
    async with SidecarClient() as sidecar:

        async def call(arguments: dict[str, object]) -> bool:
            return not (await sidecar.call_tool(SERVER, TOOL, arguments)).is_error

        yield call


@contextlib.asynccontextmanager
async def over_http() -> AsyncIterator[Call]:
    place = f"/servers/{SERVER}/mcp" if SERVER else "/mcp"
    async with Client(f"http://127.0.0.1:15080{place}", cache=None) as sidecar:

        async def call(arguments: dict[str, object]) -> bool:
            return not (await sidecar.call_tool(TOOL, arguments)).is_error

        yield call


WAYS = {"grpc": over_grpc, "http": over_http}


async def calling(ledger: Ledger, stop: asyncio.Event) -> None:
    """One caller: a call after the other, each with an id that is in both ledgers. A broken connection is made anew."""
    numbers = itertools.count(1)
    prefix = secrets.token_hex(4)
    while not stop.is_set():
        try:
            async with WAYS[WAY]() as call:
                for number in numbers:
                    if stop.is_set() or (CALLS and number > CALLS):
                        return
                    await once(ledger, call, f"{prefix}-{number}")
        except Exception as lost:  # noqa: BLE001 - whatever it was, the agent goes on
            ledger.note("lost", why=repr(lost))
            await asyncio.sleep(0.2)


async def once(ledger: Ledger, call: Call, identifier: str) -> None:
    ledger.note("sent", id=identifier)
    try:
        good = await call({"call": identifier, "seconds": SECONDS})
    except Exception as failure:
        ledger.note("failed", id=identifier, why=repr(failure), execution=str(getattr(failure, "execution", "")))
        if WAY == "http":
            raise
    else:
        ledger.note("got" if good else "refused", id=identifier)
    await asyncio.sleep(PAUSE)


async def stay(stop: asyncio.Event) -> None:
    """Return when the file is there, or when told to end."""
    while STAY and not stop.is_set() and not await asyncio.to_thread(Path(STAY).exists):  # noqa: ASYNC110 - a file
        await asyncio.sleep(0.1)


async def main() -> None:
    ledger = Ledger()
    ledger.note("agent started")
    stop = asyncio.Event()

    def told_to_end() -> None:
        ledger.note("agent told to end")
        asyncio.get_running_loop().call_later(LINGER, stop.set)

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told_to_end)
    async with asyncio.TaskGroup() as callers:
        for number in range(CALLERS):
            callers.create_task(calling(ledger, stop), name=f"caller {number}")
    await stay(stop)
    ledger.note("agent ended")


asyncio.run(main())

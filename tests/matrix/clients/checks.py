"""What every client of the matrix has to do, once for both Python SDKs; knows servers only by the words it is given.

Runs in the environment of either SDK and therefore imports neither, and nothing else of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

# With every CPU busy a server takes many seconds to start; and some clients connect before it has.
CONNECT_SECONDS = 30.0
CHECK_SECONDS = 25.0
ALL_SECONDS = 80.0
_LEAVE_SECONDS = 3.0
_MOST_SAID = 400
_AGAIN_SECONDS = 1.0
"""An update may pass before the stream that would carry it is open; then the resource is changed once more."""

Words = dict[str, Any]
"""What one check needs to know about the server: names, arguments, what is answered (tests/matrix/words.py).

`seconds` is how long it may take, where that is not `CHECK_SECONDS`.
"""
Progress = Callable[[float], None]

ANSWER: dict[str, Any] = {"name": "Ada"}
"""What every client answers when it is asked for its user's name."""
RHYME = "bell"
"""What every client's model says."""


class Peer(Protocol):
    """An SDK's client that is connected."""

    revision: str

    async def tools(self) -> list[str]: ...

    async def call(self, tool: str, arguments: Words, heard: Progress | None = None) -> tuple[str, bool]:
        """The text of the result, and whether it is a failure of the tool."""

    async def read(self, uri: str) -> int | None:
        """The code of the JSON-RPC error that the resource is refused with; None when there is such a resource."""

    async def give_up(self, call: asyncio.Task[Any]) -> None:
        """End a call that runs, and tell the server in the way of this SDK."""

    def subscribed(self, uri: str, updated: Callable[[str], None]) -> AbstractAsyncContextManager[None]:
        """Within this block `updated` hears the URI of every resource that changes."""


async def agrees(peer: Peer, words: Words) -> None:
    assert peer.revision == words["is"], f"speaks {peer.revision}"


async def lists(peer: Peer, words: Words) -> None:
    names = await peer.tools()
    assert words["tool"] in names, f"not listed: {words['tool']}"
    assert len(names) == len(set(names)), "a tool is listed twice"


async def calls(peer: Peer, words: Words) -> None:
    text, failed = await peer.call(words["tool"], words["arguments"])
    assert (words["says"] in text, failed) == (True, False), f"said {text!r}"


async def hears_progress(peer: Peer, words: Words) -> None:
    heard: list[float] = []
    _, failed = await peer.call(words["tool"], words["arguments"], heard.append)
    assert not failed
    assert heard == words["steps"], f"heard {heard}"


async def sees_a_tool_fail(peer: Peer, words: Words) -> None:
    text, failed = await peer.call(words["tool"], words["arguments"])
    assert failed, "no failure"
    assert words["says"] in text, f"said {text!r}"


async def sees_a_request_fail(peer: Peer, words: Words) -> None:
    code = await peer.read(words["uri"])
    assert code in words["codes"], f"code {code}"


async def gives_up(peer: Peer, words: Words) -> None:
    token = f"call-{os.getpid()}"
    begun = asyncio.Event()
    call = asyncio.create_task(
        peer.call(words["tool"], {**words["arguments"], "text": token}, lambda _: begun.set()), name="given up"
    )
    await begun.wait()
    await peer.give_up(call)
    while token not in (await peer.call(words["asked"], {}))[0]:  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.05)


async def is_subscribed(peer: Peer, words: Words) -> None:
    heard = asyncio.Event()
    uris: set[str] = set()

    def updated(uri: str) -> None:
        uris.add(uri)
        heard.set()

    async with peer.subscribed(words["uri"], updated):
        while not heard.is_set():
            await peer.call(words["tool"], {})
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(heard.wait(), _AGAIN_SECONDS)
    assert uris == {words["uri"]}, f"heard of {uris}"


CHECKS: dict[str, Callable[[Peer, Words], Awaitable[None]]] = {
    "revision": agrees,
    "list": lists,
    "call": calls,
    "progress": hears_progress,
    "tool error": sees_a_tool_fail,
    "protocol error": sees_a_request_fail,
    "cancellation": gives_up,
    "elicitation": calls,
    "sampling": calls,
    "subscription": is_subscribed,
}


def main(connected: Callable[[str, str], AbstractAsyncContextManager[Peer]]) -> None:
    """`TARGET MODE WORDS`: connect, do every check that WORDS (JSON) has, write what came of it as one JSON object.

    Words that are a text say why the server cannot do it. `connected(target, mode)` is the SDK's client.
    """
    logging.disable()
    warnings.simplefilter("ignore")
    target, mode, given = sys.argv[1:]
    words = json.loads(given)
    outcomes = {name: f"n/a: {reason}" for name, reason in words.items() if isinstance(reason, str)}
    asyncio.run(_all(connected(target, mode), {k: v for k, v in words.items() if k not in outcomes}, outcomes))
    print(json.dumps({name: outcomes[name] for name in words}), flush=True)
    # What an SDK has left running must not keep the process.
    os._exit(0)


async def _all(connecting: AbstractAsyncContextManager[Peer], words: Words, outcomes: dict[str, str]) -> None:
    stack = contextlib.AsyncExitStack()
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            peer = await stack.enter_async_context(connecting)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
        outcomes.update(dict.fromkeys(words, f"failed: not connected: {_why(error)}"))
        return
    end = asyncio.get_running_loop().time() + ALL_SECONDS
    for name, more in words.items():
        left = end - asyncio.get_running_loop().time()
        outcomes[name] = await _outcome(CHECKS[name](peer, more), min(left, more.get("seconds", CHECK_SECONDS)))
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_LEAVE_SECONDS):
            await stack.aclose()


async def _outcome(check: Awaitable[None], seconds: float) -> str:
    try:
        async with asyncio.timeout(seconds):
            await check
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
        return f"failed: {_why(error)}"
    return "ok"


def _why(error: BaseException) -> str:
    """The errors that an SDK's task groups have wrapped, in a line."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_why, error.exceptions))
    return " ".join(f"{type(error).__name__}: {error}".split())[:_MOST_SAID]

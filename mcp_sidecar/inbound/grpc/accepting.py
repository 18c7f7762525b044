"""A shorter way through what grpc.aio does for every call before it is one; knows no call (docs/decisions/0011).

Its accept loop waits with `asyncio.wait`, made for any number of futures, for the one that it has; and it looks into
each handler, at each call, to find out whether it is a coroutine's.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the stubs leave it out

_HANDLERS = 256


def shorten() -> None:
    """Have the grpc.aio of this process take the shorter way; once is enough."""
    if not isinstance(cygrpc.asyncio, SimpleNamespace):
        cygrpc.asyncio = SimpleNamespace(**vars(asyncio) | {"wait": wait})
        cygrpc._is_async_handler = functools.lru_cache(_HANDLERS)(cygrpc._is_async_handler)  # noqa: SLF001


Futures = Collection["asyncio.Future[Any]"]


async def wait(futures: Futures, *, return_when: str) -> tuple[Futures, Futures]:
    """`asyncio.wait`; quicker for a single future."""
    if len(futures) != 1:
        return await asyncio.wait(futures, return_when=return_when)
    (future,) = futures
    if not future.done():
        await _end_of(future)
    return {future}, set()


async def _end_of(future: asyncio.Future[Any]) -> None:
    """Returns when it is done, however it ended. Cancelled, it leaves the future alone."""
    waiter = future.get_loop().create_future()

    def wake(_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    future.add_done_callback(wake)
    try:
        await waiter
    finally:
        future.remove_done_callback(wake)

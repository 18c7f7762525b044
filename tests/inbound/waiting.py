"""Waits in tests for facts that announce themselves to nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def eventually(fact: Callable[[], object], seconds: float = 5.0) -> None:
    """Return once `fact()` is true. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while not fact():  # noqa: ASYNC110 - the fact lies in another thread, or inside gRPC
            await asyncio.sleep(0.001)

"""Asks again until the answer is the right one, within bounds; knows nobody who answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

SECONDS = 30.0
"""The sidecar waits up to five before it sends, five before it tries again, and five before it connects anew."""


async def until(fact: Callable[[], Awaitable[object]]) -> None:
    """Return once it is true. Raises `TimeoutError`."""
    async with asyncio.timeout(SECONDS):
        while not await fact():  # noqa: ASYNC110  # who has to be asked tells nobody of a change
            await asyncio.sleep(0.05)

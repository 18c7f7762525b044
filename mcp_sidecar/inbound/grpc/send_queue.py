"""What waits to be written to one stream, bounded in frames and bytes; knows no gRPC."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, Protocol, TypeVar

from mcp_sidecar.errors import Execution, SendQueueFull


class Sized(Protocol):
    """A frame knows how many bytes it takes on the wire."""

    def ByteSize(self) -> int: ...  # noqa: N802  # protobuf's spelling


Frame = TypeVar("Frame", bound=Sized)


class SendQueue(Generic[Frame]):
    """Many put, one takes. `full` is set by the frame that no longer fits; that is the end of the stream."""

    def __init__(self, frames: int, size: int) -> None:
        self._frames = frames
        self._bytes = size
        self._waiting: deque[tuple[Frame, int]] = deque()
        self._held = 0
        self._ended = False
        self._wake = asyncio.Event()
        self.full: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def put(self, frame: Frame) -> None:
        """Add a frame; never waits. Raises `SendQueueFull`."""
        size = frame.ByteSize()
        # A single frame larger than the limit still goes out alone: results may be larger than the queue.
        if len(self._waiting) >= self._frames or (self._waiting and self._held + size > self._bytes):
            if not self.full.done():
                self.full.set_result(None)
            raise SendQueueFull(
                f"the reader is {len(self._waiting)} frames behind; the stream holds {self._frames} frames"
                f" and {self._bytes} bytes (grpc.send_queue, grpc.send_queue_bytes)",
                execution=Execution.UNKNOWN,  # what waits are answers, mostly
            )
        self._waiting.append((frame, size))
        self._held += size
        self._wake.set()

    def end(self) -> None:
        """No frame comes after those that wait."""
        self._ended = True
        self._wake.set()

    async def take(self) -> Frame | None:
        """The next frame; None at the end."""
        while not self._waiting:
            if self._ended:
                return None
            self._wake.clear()
            await self._wake.wait()
        frame, size = self._waiting.popleft()
        self._held -= size
        return frame

"""Cuts a stream of bytes into lines, without ever holding more than one; knows not what stands in them."""

from __future__ import annotations


class Lines:
    """Feed it what arrives. `overlong` is True once a line is longer than `longest` bytes: it is cut there."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._parts: list[bytes] = []
        self._size = 0
        self.overlong = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that end in `chunk`, without their ends."""
        *ended, rest = chunk.split(b"\n")
        lines = []
        for part in ended:
            self._keep(part)
            lines.append(self.rest().removesuffix(b"\r"))
        self._keep(rest)
        return lines

    def rest(self) -> bytes:
        """The line that has not ended, which is taken as it is."""
        line = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return line

    def _keep(self, part: bytes) -> None:
        room = self._longest - self._size
        if len(part) > room:
            self.overlong = True
            part = part[:room]
        if part:
            self._parts.append(part)
            self._size += len(part)

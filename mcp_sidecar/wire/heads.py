"""Heads seen before: peers that talk for long repeat theirs. Recognises a head, and does not know what it says.

To read a head strictly costs more than all that is done with it afterwards. A message whose head is byte for byte one
that has passed, but for the digits of Content-Length, means the same and needs no second reading.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

T = TypeVar("T")

_END: Final = b"\r\n\r\n"
_SPELLINGS: Final = (b"\r\ncontent-length: ", b"\r\nContent-Length: ")
_LENGTH: Final = len(_SPELLINGS[0])
_LONGEST: Final = 4096
_MOST: Final = 256


class Heads(Generic[T]):
    """What heads meant, at most 256 of at most 4 KiB. For one listener or one origin."""

    def __init__(self) -> None:
        self._known: dict[bytes, T] = {}
        self._exact: dict[bytes, tuple[T, int]] = {}  # the same with their lengths: found at once when those repeat too

    def __len__(self) -> int:
        return max(len(self._known), len(self._exact))

    def recall(self, data: bytes) -> tuple[T, bytes] | None:
        """What the head meant, and the body, if `data` is exactly one message and its head is known."""
        end = data.find(_END) + len(_END)
        exact = self._exact.get(data[:end])
        if exact is not None:
            return (exact[0], data[end:]) if len(data) == end + exact[1] else None
        parts = split(data)
        if parts is None or (meaning := self._known.get(parts[0])) is None:
            return None
        # Whoever never repeats a head pushes out those who do; they are learnt again with their next message.
        if len(self._exact) >= _MOST:
            self._exact.clear()
        self._exact[data[:end]] = meaning, len(parts[1])
        return meaning, parts[1]

    def learn(self, data: bytes, meaning: T) -> None:
        """Remember what a head meant; `data` was read as one message, from its first byte to its last."""
        parts = split(data)
        if parts is not None:
            if len(self._known) >= _MOST:
                self._known.clear()
                self._exact.clear()
            self._known[parts[0]] = meaning


def split(data: bytes) -> tuple[bytes, bytes] | None:
    """The head without the digits of its length, and the body, if the two are all of `data`."""
    end = data.find(_END)
    if end > _LONGEST:
        return None
    # A head that says its length in two spellings never passes, and so is never learnt.
    at = data.find(_SPELLINGS[0], 0, end)
    if at < 0:
        at = data.find(_SPELLINGS[1], 0, end)
        if at < 0:
            return None
    at += _LENGTH
    rest = data.find(b"\r\n", at)
    digits = data[at:rest]
    body = data[end + 4 :]
    if not digits.isdigit() or int(digits) != len(body):
        return None
    return data[:at] + data[rest:end], body

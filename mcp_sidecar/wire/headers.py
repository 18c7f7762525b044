"""The fields of one message, as an immutable lookup. Knows no field's meaning."""

from __future__ import annotations

from collections.abc import Callable, KeysView


class Headers:
    """Fields in the order they came; names are lower-case `bytes`, values as sent without outer blanks."""

    __slots__ = ("_first", "get", "pairs")

    get: Callable[[bytes], bytes | None]
    """The first value of a name, or None."""

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self.pairs = pairs
        # The reversal makes the first of several equal names win.
        self._first = dict(reversed(pairs))
        # The dict's own method: a lookup costs no Python frame, and a request has ten of them.
        self.get = self._first.get

    def all(self, name: bytes) -> list[bytes]:
        """Every value of `name`, in order."""
        return [value for key, value in self.pairs if key == name]

    @property
    def names(self) -> KeysView[bytes]:
        """Every name once."""
        return self._first.keys()

    @property
    def repeated(self) -> bool:
        """Some name occurs more than once."""
        return len(self._first) != len(self.pairs)

    def __contains__(self, name: bytes) -> bool:
        return name in self._first

    def __repr__(self) -> str:
        # Values may be credentials: a log line or a traceback shows names only.
        return f"Headers({', '.join(sorted(name.decode('latin-1') for name in self._first))})"

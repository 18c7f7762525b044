"""A bounded store: so many entries and bytes, least recently used out first; knows neither time nor what it keeps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """`size` tells how many bytes a value takes. A value larger than a quarter of all is not kept."""

    def __init__(self, most: int, most_bytes: int, size: Callable[[V], int]) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._size = size
        self._kept: OrderedDict[K, V] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """The value, which counts as used."""
        value = self._kept.get(key)
        if value is not None:
            self._kept.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value in the place of the one there was."""
        self.drop(key)
        size = self._size(value)
        if size > self._most_bytes // 4:
            return
        self._kept[key] = value
        self.bytes += size
        while len(self._kept) > self._most or self.bytes > self._most_bytes:
            self.drop(next(iter(self._kept)))

    def drop(self, key: K) -> None:
        """Forget a value, if it is there."""
        value = self._kept.pop(key, None)
        if value is not None:
            self.bytes -= self._size(value)

    def keys_where(self, fits: Callable[[K], bool]) -> list[K]:
        """The keys that fit."""
        return [key for key in self._kept if fits(key)]

"""A bounded store against a model of it: `engine.cache`."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mcp_sidecar.engine.cache import Cache

MOST, MOST_BYTES = 4, 100
KEYS = st.integers(0, 6)


class Store(RuleBasedStateMachine):
    """The model is a list of pairs, the least recently used first."""

    def __init__(self) -> None:
        super().__init__()
        self.cache: Cache[int, bytes] = Cache(MOST, MOST_BYTES, len)
        self.model: list[tuple[int, bytes]] = []

    @rule(key=KEYS, size=st.integers(1, 60))
    def put(self, key: int, size: int) -> None:
        value = bytes(size)
        self.cache.put(key, value)
        self.model = [pair for pair in self.model if pair[0] != key]
        if size <= MOST_BYTES // 4:
            self.model.append((key, value))
        while len(self.model) > MOST or sum(len(value) for _, value in self.model) > MOST_BYTES:
            self.model.pop(0)

    @rule(key=KEYS)
    def get(self, key: int) -> None:
        found = [pair for pair in self.model if pair[0] == key]
        assert self.cache.get(key) == (found[0][1] if found else None)
        self.model = [pair for pair in self.model if pair[0] != key] + found

    @rule(key=KEYS)
    def drop(self, key: int) -> None:
        self.cache.drop(key)
        self.model = [pair for pair in self.model if pair[0] != key]

    @invariant()
    def nothing_is_beyond_its_bounds(self) -> None:
        assert len(self.cache) == len(self.model) <= MOST
        assert self.cache.bytes == sum(len(value) for _, value in self.model) <= MOST_BYTES
        assert self.cache.keys_where(lambda _: True) == [key for key, _ in self.model]


TestStore = Store.TestCase

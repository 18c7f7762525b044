"""Which endpoint of an upstream a call goes to: decides, from loads and from failures. Knows no connection.

The less busy of two drawn at random ("power of two choices") needs no order among sidecars that know nothing of each
other, and does not send all of them to the same endpoint at once as "the least busy of all" would.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mcp_sidecar.directory import AnyEndpoint, Upstream
from mcp_sidecar.outbound.backoff import Backoff
from mcp_sidecar.outbound.measures import UNMEASURED, Measures

_AVOIDED = Backoff(first=1.0, longest=30.0)
# So many draws find a sound endpoint almost always where most are; else all are looked at.
_DRAWS = 8


@dataclass(slots=True)
class Broken:
    """An endpoint that failed, `failures` times in a row; avoided `until` then (monotonic)."""

    failures: int
    until: float


class Balancer:
    """`load` tells how many calls an endpoint has in flight. Times are monotonic seconds."""

    def __init__(
        self, load: Callable[[AnyEndpoint], int], draw: random.Random | None = None, avoided: Backoff = _AVOIDED
    ) -> None:
        self._load = load
        self._draw = draw or random.Random()  # noqa: S311  # nothing is guarded by it
        self._avoided = avoided
        self.broken: dict[AnyEndpoint, Broken] = {}
        self.measures: Measures = UNMEASURED

    def choose(
        self, upstream: Upstream, now: float, tried: Sequence[AnyEndpoint] = (), home: AnyEndpoint | None = None
    ) -> AnyEndpoint | None:
        """Where a call goes; None when there is nowhere, or nowhere else than where it was `tried`.

        A session stays at its `home` for as long as that endpoint serves sessions; every other call goes to one that
        takes new ones. Those that are leaving take them when nobody else is there.
        """
        if home is not None and home not in tried and home in upstream.all:
            return home
        candidates: Sequence[AnyEndpoint] = upstream.endpoints or upstream.leaving
        if tried:
            candidates = [endpoint for endpoint in candidates if endpoint not in tried]
        return self._less_busy(candidates, now)

    def failed(self, endpoint: AnyEndpoint, now: float) -> None:
        """The path to it broke; avoid it for a while, longer every time. Calls that fail together count once."""
        broken = self.broken.get(endpoint)
        if broken is None:
            self.broken[endpoint] = Broken(1, now + self._avoided.delay(1))
            self.measures.turned(endpoint.upstream, "avoided")
        elif now >= broken.until:
            broken.failures += 1
            broken.until = now + self._avoided.delay(broken.failures)

    def worked(self, endpoint: AnyEndpoint) -> None:
        """It answered."""
        if self.broken.pop(endpoint, None) is not None:
            self.measures.turned(endpoint.upstream, "ready")

    def is_avoided(self, endpoint: AnyEndpoint, now: float) -> bool:
        """It was found broken a moment ago."""
        broken = self.broken.get(endpoint)
        return broken is not None and now < broken.until

    def retire(self, endpoint: AnyEndpoint) -> None:
        """It is gone for good."""
        self.broken.pop(endpoint, None)

    def _less_busy(self, candidates: Sequence[AnyEndpoint], now: float) -> AnyEndpoint | None:
        one = self._draw_sound(candidates, now)
        if one is None or len(candidates) == 1:
            return one
        other = self._draw_sound(candidates, now, one) or one
        return other if self._load(other) < self._load(one) else one

    def _draw_sound(
        self, candidates: Sequence[AnyEndpoint], now: float, besides: AnyEndpoint | None = None
    ) -> AnyEndpoint | None:
        """One that is not avoided. When all are, any will do as the first: trying is better than giving up."""
        if not candidates:
            return None
        for _ in range(_DRAWS):
            endpoint = candidates[int(self._draw.random() * len(candidates))]
            if endpoint is not besides and not self.is_avoided(endpoint, now):
                return endpoint
        sound = [one for one in candidates if one is not besides and not self.is_avoided(one, now)]
        if sound or besides is not None:
            return self._draw.choice(sound) if sound else None
        return self._draw.choice(candidates)

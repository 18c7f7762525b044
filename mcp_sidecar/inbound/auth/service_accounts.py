"""Lets in service accounts of the cluster, by tokens that the API server reviews; knows not how it is reached."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import time
from asyncio import TaskGroup
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from mcp_sidecar.call import POD, Principal
from mcp_sidecar.errors import Unauthenticated
from mcp_sidecar.inbound.auth.bearer import bearer_token
from mcp_sidecar.outbound.flights import Flights

DEFAULT_AUDIENCE: Final = "mcp-sidecar.dev"
_KEPT_SECONDS: Final = 60.0
"""How long a pod that was deleted may go on calling."""
_REFUSED_SECONDS: Final = 5.0
_MOST_KEPT: Final = 1024
_PREFIX: Final = "system:serviceaccount:"
_EXTRA: Final = "authentication.kubernetes.io/"
_FACTS: Final = ("pod-name", "pod-uid", "node-name", "credential-id")

Review = Callable[[str, str], Awaitable[Mapping[str, object]]]
"""From a token and an audience to the `status` of a TokenReview (authentication.k8s.io/v1). Raises `Unavailable`."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What came of a review, and until when (on the monotonic clock) that need not be asked again."""

    outcome: Principal | str
    """Who it is, or why nobody."""
    until: float


class ServiceAccounts:
    """Lets in who shows a token of a service account for our audience, as the API server sees it.

    A review holds for a minute, or to the token's end if that is sooner, and a refusal for five seconds, by the token's
    SHA-256 (1,024 of them, the least recently used go first). One review at a time for each token, for all callers; its
    task is one of `tasks`.
    """

    generation = 0  # what it goes by is the API server's

    def __init__(
        self, audience: str, review: Review, tasks: TaskGroup, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._audience = audience or DEFAULT_AUDIENCE
        self._review = review
        self._clock = clock
        self._flights: Flights[_Verdict] = Flights(tasks)
        self._verdicts: OrderedDict[bytes, _Verdict] = OrderedDict()

    async def authenticate(self, authorization: str | None) -> Principal:
        """The service account and its pod. Raises `Unauthenticated`, or `Unavailable` while reviews cannot be had."""
        token = bearer_token(authorization)
        digest = hashlib.sha256(token.encode("ascii")).digest()
        verdict = self._verdicts.get(digest)
        if verdict is not None and self._clock() < verdict.until:
            self._verdicts.move_to_end(digest)
        else:
            verdict = await self._flights.join(digest.hex(), partial(self._ask, token, digest))
        if isinstance(verdict.outcome, str):
            raise Unauthenticated(verdict.outcome)
        return verdict.outcome

    async def _ask(self, token: str, digest: bytes) -> _Verdict:
        outcome = judge(await self._review(token, self._audience), self._audience)
        seconds = _REFUSED_SECONDS if isinstance(outcome, str) else min(_KEPT_SECONDS, _seconds_left(token))
        verdict = self._verdicts[digest] = _Verdict(outcome, self._clock() + seconds)
        self._verdicts.move_to_end(digest)
        while len(self._verdicts) > _MOST_KEPT:
            self._verdicts.popitem(last=False)
        return verdict


def judge(status: Mapping[str, object], audience: str) -> Principal | str:
    """Who the status of a review says it is, or why it is nobody we let in.

    API servers leave `authenticated` out for a wrong audience and say so in `error`, whose words may hold anything.
    """
    if status.get("authenticated") is not True:
        return (
            f"the API server does not accept the token for the audience {audience!r}: send the newest token of a"
            " projected serviceAccountToken volume with this audience"
        )
    audiences = status.get("audiences")
    # A server that knows nothing of audiences leaves them out: the token was then meant for anybody.
    if not isinstance(audiences, list) or audience not in audiences:
        return f"the token is for another audience: project one for {audience!r}"
    user = status.get("user")
    name = user.get("username") if isinstance(user, dict) else None
    words = name.removeprefix(_PREFIX).split(":") if isinstance(name, str) and name.startswith(_PREFIX) else []
    if len(words) != 2 or not all(words):
        return "the token is not one of a service account"
    return _principal(str(name), words[0], words[1], user.get("extra") if isinstance(user, dict) else None)


def _principal(subject: str, namespace: str, account: str, extra: object) -> Principal:
    claims: dict[str, object] = {"namespace": namespace, "serviceaccount": account}
    for fact in _FACTS:
        values = extra.get(_EXTRA + fact) if isinstance(extra, dict) else None
        if isinstance(values, list) and values and isinstance(values[0], str):
            claims[fact] = values[0]
    if "pod-name" in claims:
        claims[POD] = f"{namespace}/{claims['pod-name']}"
    return Principal(subject, MappingProxyType(claims))


def _seconds_left(token: str) -> float:
    """To the token's own end; the API server, which has checked it, does not say when that is."""
    end = _claims(token).get("exp")
    if isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end):
        return _KEPT_SECONDS
    return float(end) - datetime.now(UTC).timestamp()


def _claims(token: str) -> Mapping[str, Any]:
    """What a JWT claims, unverified; nothing when it is none."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}

"""Checks JSON Web Tokens (RFC 7519, with the practices of RFC 8725); knows not where the keys come from."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import jwt

from mcp_sidecar.call import Principal
from mcp_sidecar.errors import Unauthenticated
from mcp_sidecar.inbound.auth.bearer import bearer_token
from mcp_sidecar.inbound.auth.key_sources import KeySource
from mcp_sidecar.inbound.auth.keys import ASYMMETRIC, Key
from mcp_sidecar.settings import AuthSettings

_LEEWAY = 30.0
_MAX_CACHED = 1024
# A withdrawn key ends all its tokens when the keys are next read; this bounds how long that may take.
_MAX_CACHED_SECONDS = 300.0
_FAR_FUTURE = 2**53  # JSON allows an `exp` that no float can hold


@dataclass(frozen=True, slots=True)
class _Verdict:
    """A token that held, until when (on the monotonic clock) that need not be checked again, and by which keys."""

    principal: Principal
    until: float
    generation: int


class WebTokens:
    """Lets in who shows a signed token for our audience, from our issuer, within its time.

    A verified token is remembered by its SHA-256 (1,024 of them, the least recently used go first) until it expires,
    the keys change or five minutes are over: the ordinary call costs a hash and a lookup.
    """

    def __init__(self, settings: AuthSettings, keys: KeySource, clock: Callable[[], float] = time.monotonic) -> None:
        self._audience = settings.audience
        self._issuer = settings.issuer or None
        self._algorithms = tuple(name for name in settings.algorithms if name in ASYMMETRIC)
        self._required = ["exp", "aud", *(["iss"] if settings.issuer else [])]
        self._keys = keys
        self._clock = clock
        self._verdicts: OrderedDict[bytes, _Verdict] = OrderedDict()

    @property
    def generation(self) -> int:
        return self._keys.generation

    async def authenticate(self, authorization: str | None) -> Principal:
        """The token's `sub` and claims. Raises `Unauthenticated`, or `Unavailable` while there are no keys."""
        token = bearer_token(authorization)
        digest = hashlib.sha256(token.encode("ascii")).digest()
        known = self._verdicts.get(digest)
        if known is not None and known.generation == self._keys.generation and self._clock() < known.until:
            self._verdicts.move_to_end(digest)
            return known.principal
        algorithm, kid = self._header(token)
        key = await self._keys.find(kid, algorithm)
        if key is None:
            raise Unauthenticated("the token is signed with a key that this sidecar does not know")
        claims = self._verified(token, key, algorithm)
        principal = Principal(str(claims.get("sub", "")), MappingProxyType(claims))
        self._remember(digest, principal, claims)
        return principal

    def _header(self, token: str) -> tuple[str, str | None]:
        """Algorithm and key id, as the token states them: good for choosing a key, proof of nothing."""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, RecursionError):
            # Without the cause, here and below: PyJWT's messages may quote what they could not read.
            raise Unauthenticated("the bearer token is not a JSON Web Token") from None
        algorithm = header.get("alg")
        if algorithm not in self._algorithms:
            raise Unauthenticated(
                f"the token is not signed in an accepted way; accepted: {', '.join(self._algorithms)}"
            )
        return str(algorithm), header.get("kid")

    def _verified(self, token: str, key: Key, algorithm: str) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key.public,
                algorithms=[algorithm],  # in our list and fit for the key: the token chose neither
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY,
                options={"require": self._required},
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated(self._explain(error)) from None

    def _explain(self, error: jwt.PyJWTError) -> str:
        match error:
            case jwt.ExpiredSignatureError():
                return "the token has expired: get a new one"
            case jwt.ImmatureSignatureError():
                return "the token is not valid yet: compare the clocks of its issuer and the sidecar"
            case jwt.InvalidAudienceError():
                return f"the token is for another audience: ask its issuer for one for {self._audience!r}"
            case jwt.InvalidIssuerError():
                return f"the token comes from another issuer than {self._issuer!r}"
            case jwt.MissingRequiredClaimError():
                return f"the token lacks one of the claims {', '.join(self._required)}"
            case _:
                return "the token's signature or form does not hold"

    def _remember(self, digest: bytes, principal: Principal, claims: Mapping[str, Any]) -> None:
        left = min(int(claims["exp"]), _FAR_FUTURE) - datetime.now(UTC).timestamp()
        until = self._clock() + min(left, _MAX_CACHED_SECONDS)
        self._verdicts[digest] = _Verdict(principal, until, self._keys.generation)
        self._verdicts.move_to_end(digest)
        while len(self._verdicts) > _MAX_CACHED:
            self._verdicts.popitem(last=False)

"""Takes the token out of an `authorization` value (RFC 6750 §2.1); knows no token's meaning."""

from __future__ import annotations

from mcp_sidecar.errors import Unauthenticated

# Tokens of large identity providers (group claims) reach 10 KiB; beyond that nobody should make us hash and parse.
_MAX_TOKEN = 16 * 1024


def bearer_token(authorization: str | None) -> str:
    """The token: printable ASCII without blanks. Raises `Unauthenticated`."""
    if not authorization:
        raise Unauthenticated("no credentials: send `authorization: Bearer TOKEN`")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("only the scheme Bearer is understood: send `authorization: Bearer TOKEN`")
    token = token.strip(" ")
    if not well_formed(token):
        raise Unauthenticated("the bearer token is empty, too long or has characters that no token has")
    return token


def well_formed(token: str) -> bool:
    """Could this be a token at all?"""
    return 0 < len(token) <= _MAX_TOKEN and token.isascii() and token.isprintable() and " " not in token

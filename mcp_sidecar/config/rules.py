"""What keys demand of each other, and what deserves a warning; judges finished settings and knows no layers."""

from __future__ import annotations

from collections.abc import Iterator

from mcp_sidecar.config.forms import is_local_listener
from mcp_sidecar.config.problems import quoted
from mcp_sidecar.settings import AuthSettings, Settings, UpstreamSettings

Fault = tuple[str, str]
"""The path of the key to mend and the sentence."""


def faults(settings: Settings) -> Iterator[Fault]:
    """Yield what does not go together."""
    yield from _upstream_faults(settings.upstreams)
    yield from _auth_faults(settings.auth)


def _upstream_faults(upstreams: tuple[UpstreamSettings, ...]) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for index, upstream in enumerate(upstreams):
        if not upstream.url:
            yield f"upstreams[{index}].url", "an upstream needs a url"
        if upstream.name and first.setdefault(upstream.name, index) != index:
            taken = f"{quoted(upstream.name)} is already the name of upstreams[{first[upstream.name]}]"
            yield f"upstreams[{index}].name", taken


def _auth_faults(auth: AuthSettings) -> Iterator[Fault]:
    if auth.mode == "token" and not auth.token_file:
        yield "auth.token_file", "needed in mode token"
    if auth.mode == "jwt":
        if bool(auth.jwks_url) == bool(auth.jwks_file):
            yield "auth.jwks_url", "mode jwt needs exactly one of jwks_url and jwks_file"
        if not auth.audience:
            # Without one, a token that the same issuer made for any other service would open this door.
            yield "auth.audience", "needed in mode jwt"
        if not auth.algorithms:
            yield "auth.algorithms", "needs at least one algorithm"


def warnings(settings: Settings) -> Iterator[str]:
    """Yield what works but is probably not meant."""
    if settings.auth.mode == "none":
        yield from _open_doors(settings)
    yield from _idle_auth_keys(settings.auth)
    if not settings.upstreams and settings.discovery.mode == "off":
        yield "no upstreams are configured, so there is nothing to call; add one with --upstream NAME=URL"


def _open_doors(settings: Settings) -> Iterator[str]:
    doors = [("listen.grpc", address) for address in settings.listen.grpc] + [("listen.http", settings.listen.http)]
    for path, address in doors:
        if not is_local_listener(address):
            yield f"{path}: anybody who can reach {address} may call every tool; set auth.mode or listen on 127.0.0.1"


def _idle_auth_keys(auth: AuthSettings) -> Iterator[str]:
    used = {"token": {"token_file"}, "jwt": {"jwks_url", "jwks_file", "audience", "issuer"}}.get(auth.mode, set())
    for name in ("token_file", "jwks_url", "jwks_file", "audience", "issuer"):
        if getattr(auth, name) and name not in used:
            yield f"auth.{name} has no effect in mode {auth.mode}"

"""What is configured and what was found, as one set of upstreams; decides only, and knows no source.

An upstream that has not changed stays the same object, and so does every endpoint whose address stays: connections,
verdicts and failures are kept by them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mcp_sidecar.directory import AnyEndpoint, Endpoint, Upstream
from mcp_sidecar.discovery.source import Address, Found
from mcp_sidecar.settings import UpstreamAuthSettings, UpstreamSettings

_Place = tuple[str, str, int, str, str]
"""What makes an endpoint another one."""


@dataclass(frozen=True, slots=True)
class Blend:
    """Upstreams in their order, what was found of them by name, and the names found that the configuration has."""

    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    found: Mapping[str, Found] = field(default_factory=dict)
    shadowed: frozenset[str] = frozenset()


def blend(before: Blend, configured: Sequence[Upstream], found: Iterable[Found], auth: UpstreamAuthSettings) -> Blend:
    """The configured upstreams in their order, then those that were found by name.

    The configuration wins on a name, and where it left the addresses to be found they are filled in. `auth` is for
    those that only discovery knows.
    """
    by_name = {one.name: one for one in sorted(found, key=lambda one: one.name)}
    upstreams: dict[str, Upstream] = {}
    for upstream in configured:
        one = None if upstream.endpoints else by_name.get(upstream.name)
        upstreams[upstream.name] = upstream if one is None else _filled(before, upstream, one)
    for name, one in by_name.items():
        if name not in upstreams:
            upstreams[name] = _filled(before, Upstream(name, _settings(one, auth), (), origin=one.origin), one)
    shadowed = frozenset(one.name for one in configured if one.endpoints and one.name in by_name)
    return Blend(upstreams, by_name, shadowed)


def _filled(before: Blend, base: Upstream, found: Found) -> Upstream:
    """The upstream with the endpoints that were found: those it had before, where they are still there."""
    old = before.upstreams.get(base.name)
    if old is not None and before.found.get(base.name) == found and old.settings == base.settings:
        return old
    known = {_place(one): one for one in (() if old is None else old.all) if isinstance(one, Endpoint)}
    ready = _endpoints(found, found.ready, known)
    return replace(base, endpoints=ready, leaving=_endpoints(found, _without(found.leaving, found.ready), known))


def _endpoints(found: Found, addresses: Iterable[Address], known: Mapping[_Place, Endpoint]) -> tuple[AnyEndpoint, ...]:
    scheme = ("sse+http" if found.transport == "sse" else "http") + ("s" if found.secure else "")
    made = {}
    for address in addresses:
        place = (scheme, address.host, address.port, found.authority, found.path)
        made[place] = known.get(place) or Endpoint(found.name, *place)
    return tuple(made.values())


def _without(some: Sequence[Address], others: Sequence[Address]) -> Iterable[Address]:
    taken = frozenset(others)
    return (address for address in some if address not in taken)


def _place(endpoint: Endpoint) -> _Place:
    return endpoint.scheme, endpoint.host, endpoint.port, endpoint.authority, endpoint.path


def _settings(found: Found, auth: UpstreamAuthSettings) -> UpstreamSettings:
    scheme = "https" if found.secure else "http"
    protocol = "sse" if found.transport == "sse" else "auto"
    return UpstreamSettings(found.name, f"{scheme}://{found.authority}{found.path}", protocol, auth)

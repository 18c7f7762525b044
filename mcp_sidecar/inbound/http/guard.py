"""Which HTTP requests may come in at all: verb, host, origin, types. Knows no MCP message."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from mcp_sidecar.errors import HttpRefused
from mcp_sidecar.settings import HttpSettings
from mcp_sidecar.wire.http_server import Head, Headers

JSON = b"application/json"
EVENTS = b"text/event-stream"
_MAX_SEEN = 64
_SERVER_PATH = re.compile(r"/servers/([a-z0-9-]{1,63})/mcp\Z")
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "[::1]"))


class Guard:
    """The checks that come before a body is looked at (MCP, basic/transports, "Security"; against DNS rebinding)."""

    def __init__(self, settings: HttpSettings, bound: tuple[str, ...]) -> None:
        self._hosts = _LOOPBACK | {host.lower() for host in (*bound, *settings.allowed_hosts)}
        self._origins = frozenset(origin.lower() for origin in settings.allowed_origins)
        self._seen: set[bytes] = set()  # Host values that passed, as they were spelt
        self._any_host = "*" in settings.allowed_hosts
        self._any_origin = "*" in settings.allowed_origins

    def check_source(self, headers: Headers) -> None:
        """Host and Origin are ours. Raises `HttpRefused`."""
        host = headers.get(b"host") or b""
        if host not in self._seen:
            self._check_host(host)
        if b"origin" in headers and not all(self._knows(one.decode("latin-1")) for one in headers.all(b"origin")):
            raise HttpRefused(403, "this Origin may not call here (http.allowed_origins)")

    def check_page(self, headers: Headers) -> None:
        """The same for the sidecar's own pages, which may ask where they came from. Raises `HttpRefused`.

        With any Host allowed that would say nothing: a name that leads elsewhere today may lead here tomorrow.
        """
        own = headers.all(b"origin")
        if len(own) == 1 and not self._any_host and _site(own[0]) == (headers.get(b"host") or b"").lower():
            self._check_host(headers.get(b"host") or b"")
        else:
            self.check_source(headers)

    def _check_host(self, raw: bytes) -> None:
        host = raw.decode("latin-1").lower()
        if not self._any_host and _name(host) not in self._hosts and host not in self._hosts:
            raise HttpRefused(403, "this Host is not served here (http.allowed_hosts)")
        if len(self._seen) < _MAX_SEEN:
            self._seen.add(raw)

    def _knows(self, origin: str) -> bool:
        if self._any_origin or origin.lower() in self._origins:
            return True
        try:
            parts = urlsplit(origin)
            return (
                parts.scheme in ("http", "https")
                and parts.netloc == origin.partition("://")[2]
                and (_name(parts.netloc) in _LOOPBACK)
            )
        except ValueError:
            return False

    def check_types(self, head: Head) -> None:
        """A POST of JSON by a client that takes JSON and event streams. Raises `HttpRefused`."""
        if head.method != "POST":
            raise HttpRefused(405, "only POST", (b"allow", b"POST"))
        headers = head.headers
        if _media_type(headers.get(b"content-type")) != JSON:
            raise HttpRefused(415, "the body must be application/json")
        if (headers.get(b"content-encoding") or b"identity").lower() != b"identity":
            raise HttpRefused(415, "the body must not be encoded")
        accept = _accept(headers)
        if accept != b"application/json, text/event-stream" and not _accepts(accept, JSON, EVENTS):
            raise HttpRefused(406, "the client must accept application/json and text/event-stream")

    def check_listener(self, head: Head) -> None:
        """A GET by a client that takes event streams. Raises `HttpRefused`."""
        if not _accepts(_accept(head.headers), EVENTS):
            raise HttpRefused(406, "the client must accept text/event-stream")


def named_server(path: str) -> str:
    """The upstream a path names; empty for the path of all of them. Raises `HttpRefused`."""
    if path == "/mcp":
        return ""
    match = _SERVER_PATH.match(path)
    if match is None:
        raise HttpRefused(404, "there are /mcp and /servers/NAME/mcp here")
    return match[1]


def _accept(headers: Headers) -> bytes:
    accept = headers.get(b"accept") or b"*/*"
    if headers.repeated:
        accept = b",".join(headers.all(b"accept")) or accept  # a list may come in several fields (RFC 9110, 5.3)
    return accept


def _site(origin: bytes) -> bytes:
    """Host and port of an origin; empty for one that names none."""
    scheme, _, site = origin.lower().partition(b"://")
    return site if scheme in (b"http", b"https") else b""


def _name(host: str) -> str:
    """A host without its port; brackets of IPv6 addresses stay."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _media_type(value: bytes | None) -> bytes:
    return (value or b"").split(b";", 1)[0].strip().lower()


def _accepts(accept: bytes, *wanted: bytes) -> bool:
    kinds = {_media_type(part) for part in accept.split(b",")}
    if b"*/*" in kinds:
        return True
    return all(kind in kinds or kind.split(b"/")[0] + b"/*" in kinds for kind in wanted)

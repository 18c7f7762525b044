"""The grammars of texts: names, URLs, addresses, files. Knows no keys; looks at the disk only to see a file is there.

Each function takes the text, returns nothing when it is good and raises ValueError with the sentence for the user when
it is not. What may be a secret (a URL's user part, the content or even the name of a credential file) is not repeated.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from mcp_sidecar.protocol import baggage

NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_SCHEMES: Final = ("http", "https", "sse+http", "sse+https", "grpc", "grpcs")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?")
_LISTEN_EXAMPLES: Final = 'such as 127.0.0.1:15051 or "[::1]:0"'
_KEY: Final = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?"
_VALUE: Final = r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?"
_REQUIREMENT: Final = rf"(!?{_KEY}|{_KEY} *(=|==|!=) *{_VALUE}|{_KEY} +(in|notin) +\( *{_VALUE}( *, *{_VALUE})* *\))"
_SELECTOR = re.compile(rf"{_REQUIREMENT}( *, *{_REQUIREMENT})*")
_UNIX_LONGEST: Final = 107
"""Bytes of a socket's path that fit Linux's sockaddr_un with its final zero."""


def check_name(text: str) -> None:
    """A DNS label, because it becomes part of paths, of metrics labels and of merged tool names."""
    if not re.fullmatch(NAME, text):
        raise ValueError("a name is 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit")


def check_url(text: str) -> None:
    """An absolute URL of a kind that can be reached, without credentials or fragment."""
    if text.startswith("stdio:"):
        raise ValueError("a program to start goes into command, as a list of words")
    url = _split(text, _SCHEMES)
    if url.scheme in {"grpc", "grpcs"}:
        _check_sidecar(url)


def _check_sidecar(url: SplitResult) -> None:
    """Another sidecar: a host, a port, and perhaps the name of one of its upstreams."""
    if url.port is None:
        raise ValueError(f"the port is missing, as in {url.scheme}://weather.tools:15051")
    name = url.path.removeprefix("/")
    if url.query or (name and not re.fullmatch(NAME, name)):
        raise ValueError(
            f"expected {url.scheme}://host:port/name, where the name is that of an upstream there, or none"
        )


def check_jwks_url(text: str) -> None:
    """Keys decide who is let in, so they may only come over TLS or from this machine."""
    if not text:
        return
    url = _split(text, ("http", "https"))
    if url.scheme != "https" and not is_loopback(url.hostname or ""):
        raise ValueError("use https, because whoever can change the keys on their way can sign tokens")


def _split(text: str, schemes: Sequence[str]) -> SplitResult:
    """Return the parts of a good URL."""
    scheme, found, rest = text.partition("://")
    if not found or scheme.lower() not in schemes or not re.fullmatch(r"[\x21-\x7e]+", rest):
        known = ", ".join(f"{one}://" for one in schemes[:-1])
        raise ValueError(f"expected a URL beginning with {known} or {schemes[-1]}://, in ASCII without spaces")
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise ValueError("the URL's host or port makes no sense") from None
    if "@" in url.netloc:
        raise ValueError("a URL must not hold user or password; use auth.bearer_file")
    if "#" in text:
        raise ValueError("a URL to call has no #fragment")
    if port == 0 or url.netloc.endswith(":"):
        raise ValueError("the URL's port must be 1 to 65535")
    _check_host(host)
    return url


def _check_host(host: str) -> None:
    if ":" in host:
        _check_ipv6(host)
    elif not host:
        raise ValueError("the host is missing")
    elif len(host) > 253 or not _HOST.fullmatch(host):  # RFC 1035 §2.3.4
        raise ValueError("the host is neither a DNS name nor an IP address")


def _check_ipv6(host: str) -> None:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        raise ValueError("the address in brackets is not an IPv6 address") from None


def check_listen(text: str) -> None:
    """An address to bind, a unix socket, or `off`."""
    if not text.startswith("unix:"):
        check_tcp(text)
        return
    path = text.removeprefix("unix://")
    if not re.fullmatch(r"/[^\0]*[^\0/]", path) or len(path.encode(errors="replace")) > _UNIX_LONGEST:
        raise ValueError(f"a unix socket is unix:// and an absolute path of at most {_UNIX_LONGEST} bytes")


def check_tcp(text: str) -> None:
    """A TCP address to bind, or `off`."""
    if text == "off":
        return
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:  # TCP's last port
        raise ValueError(f"expected host:port with a port from 0 to 65535, {_LISTEN_EXAMPLES}")
    if host.startswith("[") and host.endswith("]"):
        _check_ipv6(host[1:-1])
    elif not host or ":" in host:
        raise ValueError(f"expected host:port with IPv6 in brackets, {_LISTEN_EXAMPLES}; 0.0.0.0 is every interface")
    else:
        _check_host(host)


def check_collector(text: str) -> None:
    """A URL, or host:port as gRPC's users write it; empty is none."""
    if not text:
        return
    if "://" in text:
        _split(text, ("http", "https"))
        return
    host, colon, port = text.rpartition(":")
    if not colon or not host or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError("expected a URL or host:port, such as http://collector:4317")
    _split(f"http://{text}", ("http",))


def check_separator(text: str) -> None:
    """A part of tools' names, which models and clients take from a small alphabet (MCP 2026-07-28, server/tools)."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,8}", text):
        raise ValueError("a separator is 1 to 8 of A-Z, a-z, 0-9, _, - and .")


def check_namespace(text: str) -> None:
    """The name of a Kubernetes namespace; an empty text is none."""
    if text and not re.fullmatch(NAME, text):
        raise ValueError("a namespace is 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit")


def check_selector(text: str) -> None:
    """A Kubernetes label selector, or `*`. Only its grammar: the API server judges lengths."""
    if text != "*" and not _SELECTOR.fullmatch(text):
        raise ValueError(
            "expected a label selector such as app=mcp-server, tier in (a, b) or app,!canary; * is every Service"
        )


def check_baggage(text: str) -> None:
    """The name of a member of baggage."""
    if not re.fullmatch(baggage.KEY, text):
        raise ValueError("a name in baggage is 1 to 256 of A-Z, a-z, 0-9 and !#$%&'*+-.^_`|~")


def check_file(text: str) -> None:
    """A regular file that can be opened; an empty text is no file."""
    if not text:
        return
    try:
        if not Path(text).is_file():
            raise ValueError("there is no such file")
        with Path(text).open("rb"):
            return
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from error


def check_folder(text: str) -> None:
    """A directory; an empty text is none."""
    if text and not Path(text).is_dir():
        raise ValueError("there is no such directory")


def is_loopback(host: str) -> bool:
    """Tell by its spelling alone whether a host is this machine."""
    return host in {"localhost", "::1"} or re.fullmatch(r"127(\.[0-9]{1,3}){3}", host) is not None


def is_local_listener(address: str) -> bool:
    """Tell whether only this machine can reach an address to bind."""
    return address == "off" or address.startswith("unix:") or is_loopback(address.rpartition(":")[0].strip("[]"))


FORMS: Mapping[str, Callable[[str], None]] = {
    "": lambda _: None,
    "name": check_name,
    "url": check_url,
    "jwks": check_jwks_url,
    "listen": check_listen,
    "tcp": check_tcp,
    "file": check_file,
    "folder": check_folder,
    "separator": check_separator,
    "collector": check_collector,
    "namespace": check_namespace,
    "selector": check_selector,
    "baggage": check_baggage,
}

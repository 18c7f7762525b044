"""Fetches one small document over HTTP(S), for use in a thread; knows not what it is for.

Written on `http.client` because urllib follows redirects and the environment's proxies, and neither bounds the time of
a whole fetch: here every read gets only what is left of it.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit


def download(url: str, *, seconds: float, limit: int) -> bytes:
    """The body of the 200 answer to GET `url`, at most `limit` bytes, within `seconds`.

    No redirect is followed: the document is trusted because of the address it was asked from. Raises `OSError` (also
    for TLS and timeouts) and `ValueError` (not the answer we need).
    """
    deadline = time.monotonic() + seconds
    connection = _connection(url, seconds)
    try:
        connection.request("GET", _target(url), headers={"Accept": "application/json", "Connection": "close"})
        connection.sock = _Bounded(connection.sock, deadline)
        with connection.getresponse() as response:
            if response.status != http.HTTPStatus.OK:
                raise ValueError(f"the server answered with status {response.status}")
            body = response.read(limit + 1)
    except http.client.HTTPException as error:
        raise ValueError(f"the answer is not sound HTTP ({type(error).__name__})") from error
    finally:
        connection.close()
    if len(body) > limit:
        raise ValueError(f"the answer is larger than {limit // 1024} KiB")
    return body


def _connection(url: str, seconds: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, parts.port, timeout=seconds, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, parts.port, timeout=seconds)


def _target(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


class _Bounded:
    """A socket as `http.client` uses it for the answer, whose reads end at a deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_BoundedReader(self._sock, self._deadline))

    def close(self) -> None:
        self._sock.close()


class _BoundedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._raw = sock.makefile("rb", buffering=0)
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()

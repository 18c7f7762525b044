"""The credentials of upstreams, read from files that may change under us; knows no wire."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mcp_sidecar.errors import UpstreamUnavailable
from mcp_sidecar.settings import UpstreamSettings


@dataclass(frozen=True, slots=True)
class Credential:
    """What proves the sidecar to an upstream. `fingerprint` tells credentials apart and may be logged."""

    fingerprint: str = ""
    token: bytes = b""

    @property
    def header(self) -> bytes:
        """As an HTTP header line, empty when there is no token."""
        return b"authorization: Bearer %b\r\n" % self.token if self.token else b""

    def __repr__(self) -> str:
        return f"Credential({self.fingerprint or 'none'})"


NO_CREDENTIAL = Credential()
_RECHECK_SECONDS = 1.0
_MAX_TOKEN_BYTES = 64 * 1024


class Credentials:
    """Bearer tokens by file, read again when the file changes (kubelets swap projected tokens in place)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._files: dict[str, _TokenFile] = {}

    def of(self, upstream: UpstreamSettings) -> Credential:
        """What to show to `upstream` now. Raises `UpstreamUnavailable` when its token was never readable."""
        path = upstream.auth.bearer_file
        if not path:
            return NO_CREDENTIAL
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = _TokenFile(path)
        return file.read(self._clock(), upstream.name)


class _TokenFile:
    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._checked = float("-inf")
        self._credential: Credential | None = None

    def read(self, now: float, upstream: str) -> Credential:
        if self._credential is None or now - self._checked >= _RECHECK_SECONDS:
            self._checked = now
            self._refresh()
        if self._credential is None:
            raise UpstreamUnavailable(
                f"the token file of the MCP server {upstream!r} cannot be read", metadata={"server": upstream}
            )
        return self._credential

    def _refresh(self) -> None:
        """Keep the last good token while the file is missing, empty or unfit to be a header."""
        try:
            with Path(self._path).open("rb") as file:
                stat = os.fstat(file.fileno())
                stamp = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
                if stamp == self._stamp:
                    return
                token = file.read(_MAX_TOKEN_BYTES).strip()
        except OSError:
            return
        if token and token.isascii() and token.decode().isprintable():
            self._stamp = stamp
            fingerprint = hashlib.sha256(token).hexdigest()[:12]
            self._credential = Credential(fingerprint, token)

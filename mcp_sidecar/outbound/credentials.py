"""What proves the sidecar to upstreams, from files that may change under us; knows no wire.

Connections are kept apart by where a credential comes from and not by what it is at the moment: a kubelet replaces a
projected token every so often, and sessions live longer than that (docs/decisions/0021).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from mcp_sidecar.errors import UpstreamUnavailable
from mcp_sidecar.outbound.trust import AnyTrust, SystemTrust, Trust
from mcp_sidecar.settings import UpstreamSettings, UpstreamTlsSettings
from mcp_sidecar.watched import Report, WatchedFile


class CredentialsRefused(UpstreamUnavailable):
    """The server does not accept what the sidecar shows: nothing ran, and the files may hold something newer."""


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token. `fingerprint` tells tokens apart and may be logged."""

    fingerprint: str = ""
    secret: bytes = b""
    header: bytes = b""
    """As an HTTP header line, empty when there is no token."""

    def __repr__(self) -> str:
        return f"Token({self.fingerprint or 'none'})"


def token(secret: bytes) -> Token:
    """The token of a file's contents. Raises `ValueError` for what cannot be a header."""
    secret = secret.strip()
    if not secret or not secret.isascii() or not secret.decode().isprintable():
        raise ValueError("it holds no token")
    return Token(hashlib.sha256(secret).hexdigest()[:12], secret, b"authorization: Bearer %b\r\n" % secret)


NO_TOKEN = Token()


class Credential:
    """What is shown to an upstream: always the newest token of its file, and a certificate where it asks for one."""

    def __init__(self, source: str = "", file: WatchedFile[Token] | None = None, trust: AnyTrust | None = None) -> None:
        self.source = source
        """Tells credentials apart for as long as connections live."""
        self.trust = trust or SystemTrust()
        self._file = file

    @property
    def token(self) -> Token:
        file = self._file
        return NO_TOKEN if file is None else file.current() or NO_TOKEN

    @property
    def header(self) -> bytes:
        """The token as an HTTP header line, empty when there is none."""
        return b"" if self._file is None else self.token.header

    @property
    def fingerprint(self) -> str:
        """Tells what is shown at the moment from what was and will be; may be logged."""
        return self.token.fingerprint

    @property
    def usable(self) -> bool:
        """There is a token, if there should be one."""
        if self._file is not None and self._file.value is None:
            self._file.look()
        return self._file is None or self._file.value is not None

    def doubt(self) -> None:
        """It was refused: look whether there is a newer one."""
        if self._file is not None:
            self._file.look()

    def __repr__(self) -> str:
        return f"Credential({self.fingerprint or 'none'})"


NO_CREDENTIAL = Credential()


class Credentials:
    """The credentials of upstreams; those with the same files share one."""

    def __init__(self, report: Report = lambda _: None, clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._files: dict[str, WatchedFile[Token]] = {}
        self._trusts: dict[UpstreamTlsSettings, Trust] = {}
        self._known: dict[tuple[str, UpstreamTlsSettings], Credential] = {}

    @property
    def generation(self) -> int:
        """How often files of theirs were read anew, and good."""
        tokens = sum(file.generation for file in self._files.values())
        return tokens + sum(trust.generation for trust in self._trusts.values())

    def of(self, upstream: UpstreamSettings) -> Credential:
        """What to show to `upstream`. Raises `UpstreamUnavailable` when its token was never readable."""
        if not upstream.secured:
            return NO_CREDENTIAL
        path, tls = upstream.auth.bearer_file, upstream.tls
        credential = self._known.get((path, tls))
        if credential is None:
            credential = self._known[path, tls] = self._new(path, tls)
        if not credential.usable:
            raise UpstreamUnavailable(
                f"the token file of the MCP server {upstream.name!r} cannot be read",
                metadata={"server": upstream.name},
            )
        return credential

    def _new(self, path: str, tls: UpstreamTlsSettings) -> Credential:
        file = trust = None
        if path:
            file = self._files.get(path) or WatchedFile(
                path, token, self._report, self._clock, otherwise="its MCP servers cannot be called"
            )
            self._files[path] = file
        if tls.given:
            trust = self._trusts.get(tls) or Trust(tls, self._report)
            self._trusts[tls] = trust
        return Credential(f"{path}\n{tls.ca_file}\n{tls.cert_file}".strip(), file, trust)

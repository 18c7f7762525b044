"""Checks bearer tokens against a list in a file; knows no signatures and no expiry."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable

from mcp_sidecar.call import Principal
from mcp_sidecar.errors import Unauthenticated, Unavailable
from mcp_sidecar.inbound.auth.bearer import bearer_token, well_formed
from mcp_sidecar.watched import WatchedFile

_ANY_SUBJECT = "token"
_Entries = tuple[tuple[bytes, Principal], ...]


class StaticTokens:
    """Lets in who shows a token of the file: one a line, `TOKEN` or `SUBJECT TOKEN`; `#` starts a comment line.

    The file is looked at again at most once a second; while it cannot be used, the last good list stays in force.
    Only SHA-256 digests are kept.
    """

    def __init__(self, path: str, report: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._file = WatchedFile(path, parse_tokens, report, clock)

    @property
    def generation(self) -> int:
        return self._file.generation

    async def authenticate(self, authorization: str | None) -> Principal:
        """The token's subject. Raises `Unauthenticated`, or `Unavailable` while no list could be read."""
        digest = _digest(bearer_token(authorization))
        entries = self._file.current()
        if entries is None:
            raise Unavailable("the sidecar cannot check tokens: its token file is missing or unfit", retry_after=1.0)
        found = None
        # Every entry is compared, each in constant time: the answer's delay tells nothing about the list.
        for known, principal in entries:
            if hmac.compare_digest(known, digest):
                found = principal
        if found is None:
            raise Unauthenticated("the bearer token is not one of those that this sidecar accepts")
        return found


def parse_tokens(contents: bytes) -> _Entries:
    """The digests and principals of a token file. Raises `ValueError`, naming lines but nothing that is in them."""
    try:
        lines = contents.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    entries = [_entry(line, number) for number, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    if not entries:
        raise ValueError("it holds no token")
    return tuple(entries)


def _entry(line: str, number: int) -> tuple[bytes, Principal]:
    words = line.split()
    if len(words) > 2 or not well_formed(words[-1]):
        raise ValueError(f"line {number} is neither `TOKEN` nor `SUBJECT TOKEN`")
    return _digest(words[-1]), Principal(words[0] if len(words) == 2 else _ANY_SUBJECT)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("ascii")).digest()

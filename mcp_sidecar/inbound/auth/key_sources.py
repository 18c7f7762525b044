"""Keeps the keys that sign tokens at hand, from a file or a URL; knows no token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

from mcp_sidecar.errors import Unavailable
from mcp_sidecar.inbound.auth.download import download
from mcp_sidecar.inbound.auth.keys import Key, find_key, parse_keys
from mcp_sidecar.settings import AuthSettings
from mcp_sidecar.watched import SIZE_LIMIT, WatchedFile

_FETCH_SECONDS = 3.0
_FRESH_SECONDS = 300.0
# A made-up key id must not make us call the key server at the caller's pace.
_REFETCH_PAUSE = 10.0
_FIRST_FETCH_PAUSE = 2.0

_Keys = tuple[Key, ...]


class KeySource(Protocol):
    """Where the keys come from. `generation` changes whenever they do."""

    @property
    def generation(self) -> int: ...

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key for a token's header, None when there is none. Raises `Unavailable` while there are no keys."""
        ...


def key_source(settings: AuthSettings, report: Callable[[str], None]) -> KeySource:
    """The file when one is set, else the URL."""
    return FileKeys(settings.jwks_file, report) if settings.jwks_file else UrlKeys(settings.jwks_url, report)


class FileKeys:
    """A JWK set in a file, looked at again at most once a second."""

    def __init__(self, path: str, report: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._file = WatchedFile(path, parse_keys, report, clock)

    @property
    def generation(self) -> int:
        self._file.current()
        return self._file.generation

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        keys = self._file.current()
        if keys is None:
            raise Unavailable("the sidecar cannot check tokens: its key file is missing or unfit", retry_after=1.0)
        return find_key(keys, kid, algorithm)


class UrlKeys:
    """A JWK set behind a URL, fetched on use: again after five minutes, or when a token names a key that is not in it.

    One fetch at a time, for all callers; a caller who leaves does not end it. The last good keys stay in force while
    the server is away, and then nobody waits for it.
    """

    def __init__(self, url: str, report: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.generation = 0
        self._url = url
        self._report = report
        self._clock = clock
        self._keys: _Keys | None = None
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._trouble = ""
        self._fetch: asyncio.Future[_Keys] | None = None

    async def find(self, kid: str | None, algorithm: str) -> Key | None:
        await self._freshen()
        if self._keys is None:
            left = self._tried_at + _FIRST_FETCH_PAUSE - self._clock()
            raise Unavailable(
                "the sidecar cannot check tokens: the keys that sign them could not be fetched yet",
                retry_after=max(left, 0.1),
            )
        key = find_key(self._keys, kid, algorithm)
        if key is None and self._start(_REFETCH_PAUSE):
            await self._settled()
            key = find_key(self._keys, kid, algorithm)
        return key

    async def _freshen(self) -> None:
        if self._keys is None:
            if self._start(_FIRST_FETCH_PAUSE):
                await self._settled()
        elif self._clock() - self._fetched_at >= _FRESH_SECONDS and self._start(_REFETCH_PAUSE) and not self._trouble:
            await self._settled()

    def _start(self, pause: float) -> bool:
        """Is a fetch under way? Begins one unless the last began less than `pause` seconds ago."""
        if self._fetch is None:
            if self._clock() - self._tried_at < pause:
                return False
            self._tried_at = self._clock()
            self._fetch = asyncio.get_running_loop().run_in_executor(None, self._download)
            self._fetch.add_done_callback(self._settle)
        return True

    async def _settled(self) -> None:
        """Wait for the fetch; `asyncio.wait` leaves it running when the caller is cancelled."""
        if self._fetch is not None:
            await asyncio.wait((self._fetch,), timeout=_FETCH_SECONDS)

    def _download(self) -> _Keys:
        return parse_keys(download(self._url, seconds=_FETCH_SECONDS, limit=SIZE_LIMIT))

    def _settle(self, fetch: asyncio.Future[_Keys]) -> None:
        self._fetch = None
        if fetch.cancelled():
            return
        error = fetch.exception()
        if error is not None:
            self._complain(str(error) or type(error).__name__)
            return
        self._trouble = ""
        self._fetched_at = self._clock()
        if fetch.result() != self._keys:
            self._keys = fetch.result()
            self.generation += 1

    def _complain(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            kept = "the keys fetched before stay in force" if self._keys is not None else "nobody can be let in"
            self._report(f"cannot fetch the signing keys from {urlsplit(self._url).hostname}: {trouble}; {kept}")

"""Keeps a replica up to date over HTTP, for ever, and never hurries a server that fails; knows no kind of object."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from mcp_sidecar.discovery.pulse import Pulse
from mcp_sidecar.kube.access import Access, Answer
from mcp_sidecar.kube.failures import Failure, Garbled, Refused, Silence
from mcp_sidecar.kube.objects import Stated
from mcp_sidecar.kube.pace import Pace, Time
from mcp_sidecar.kube.replica import Ask, Replica
from mcp_sidecar.logs import Log
from mcp_sidecar.protocol.lines import Lines

T = TypeVar("T", bound=Stated)

_ANSWER_SECONDS = 15.0
_LIST_SECONDS = 60.0
_STAGING_SECONDS = 10.0
"""A server that never heard of streaming lists takes one for a watch, and its beginning never ends."""
_SILENCE_SECONDS = 80.0
"""Bookmarks come once a minute: nothing for longer than that is a connection that died unseen."""
_SPAN = (300.0, 600.0)
"""A watch is asked to end after some time of this, so that not all watches of a cluster end together."""
_GRACE_SECONDS = 30.0
_LONGEST_LINE = 4 * 1024 * 1024  # etcd's largest object is 1.5 MiB
_LONGEST_LIST = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Collection:
    """What is watched: objects of one kind in one namespace that fit a label selector (empty: all)."""

    resource: str
    versions: tuple[str, ...]
    """API paths that may serve it, the best first, such as `/apis/discovery.k8s.io/v1`."""
    selector: str = ""

    def __str__(self) -> str:
        return f"{self.resource} {self.selector}".rstrip()


class Watch(Generic[T]):
    """One collection, followed. `changed` is called after every change and when the first attempt has ended."""

    def __init__(
        self,
        collection: Collection,
        replica: Replica[T],
        access: Access,
        changed: Callable[[], None],
        log: Log,
        time: Time,
        pulse: Pulse | None = None,
    ) -> None:
        self.collection = collection
        self.replica = replica
        self.tried = False
        """The first attempt has come to an end, good or bad."""
        self._access = access
        self._changed = changed
        self._log = log
        self._time = time
        self._pulse = pulse or Pulse(time.now)
        self._pace = Pace(time.draw)
        self._version = 0
        self._seen = 0
        self._told = ""

    async def run(self) -> None:
        """Follow the collection until cancelled. Raises nothing."""
        while True:
            try:
                await self._follow()
                reason = "ENDED"
                delay = self._pace.wait(failed=False)
            except Failure as failure:
                self._note(failure)
                reason = failure.reason
                delay = self._pace.wait(failure.retry_after)
            finally:
                self.replica.end()
            self._attempted()
            self._pulse.restarted(reason)
            await self._time.sleep(delay)

    async def _follow(self) -> None:
        """Ask until a watch ends. Raises `Failure`."""
        watching = False
        while not watching:
            ask = self.replica.ask()
            self._pace.request()
            try:
                await self._ask(ask)
            except Refused as refusal:
                if not self.replica.refuse(ask, refusal):
                    self._next_version(refusal)
                    raise
            else:
                watching = ask is not Ask.LIST

    async def _ask(self, ask: Ask) -> None:
        span = self._time.draw(*_SPAN)
        query = self.replica.query(ask, int(span))
        if self.collection.selector:
            query["labelSelector"] = self.collection.selector
        path = f"{self.collection.versions[self._version]}/namespaces/{{namespace}}/{self.collection.resource}"
        async with self._within(_ANSWER_SECONDS):
            answer = await self._access.get(path, query)
        try:
            async with self._within(_LIST_SECONDS if ask is Ask.LIST else span + _GRACE_SECONDS):
                self.replica.begin(ask)
                if ask is Ask.LIST:
                    self.replica.take_list(await answer.body(_LONGEST_LIST))
                    self._pulse.heard(str(self.collection))
                else:
                    await self._listen(answer)
        finally:
            await answer.close()
            self._tell()

    async def _listen(self, answer: Answer) -> None:
        """Feed the replica until the stream ends. A line without an end is lost; the next watch repeats it."""
        lines, begin = Lines(_LONGEST_LINE), self._time.now()
        try:
            while chunk := await self._chunk(answer):
                for line in lines.feed(chunk):
                    if line:
                        self.replica.feed(line)
                if lines.overlong:
                    raise Garbled(f"a line longer than {_LONGEST_LINE} bytes")
                self._heard()
        finally:
            self._pace.lived(self._time.now() - begin)

    async def _chunk(self, answer: Answer) -> bytes:
        staging = self.replica.staging
        try:
            async with self._within(_STAGING_SECONDS if staging else _SILENCE_SECONDS):
                return await answer.chunk()
        except Silence:
            if staging:
                self.replica.stop_streaming()
            raise

    @contextlib.asynccontextmanager
    async def _within(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with self._time.limit(seconds):
                yield
        except TimeoutError:
            raise Silence(f"the API server said nothing for {seconds:.0f} s") from None

    def _next_version(self, refusal: Refused) -> None:
        """An API version that is not there may be there under another name."""
        if refusal.status == 404:
            self._version = (self._version + 1) % len(self.collection.versions)

    def _heard(self) -> None:
        self._pulse.heard(str(self.collection))
        if self._told and self.replica.synced:
            self._told = ""
            self._log.info("discovery", watch=str(self.collection), state="recovered")
        self._tell()

    def _tell(self) -> None:
        if self._seen != self.replica.revision:
            self._seen = self.replica.revision
            self._changed()

    def _attempted(self) -> None:
        if not self.tried:
            self.tried = True
            self._changed()

    def _note(self, failure: Failure) -> None:
        """Once for each way to fail, until the server is heard again."""
        if str(failure) == self._told:
            return
        self._told = str(failure)
        fields = {"watch": str(self.collection), "state": "failing", "error": str(failure)}
        if hint := failure.hint(self.collection.resource, self._access.namespace):
            fields["hint"] = hint
        self._log.warning("discovery", **fields)

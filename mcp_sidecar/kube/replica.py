"""What the API server said of one collection, and what to ask it next. Is fed, and fetches nothing; knows no clock.

The rules are those of the API's list and watch (kubernetes.io, API concepts): a streaming list, or where the server
has none, a list and then a watch from where it ended. What is known stays until a new whole has come.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import msgspec

from mcp_sidecar.kube.failures import Garbled, Refused
from mcp_sidecar.kube.objects import Read, Stated

T = TypeVar("T", bound=Stated)

_INITIAL_END = "k8s.io/initial-events-end"
_NO_STREAMING_LIST = (400, 422)
_MOST_GRAVES = 1_000
Skipped = Callable[[str, str], None]
"""Told the name of an object that cannot be read, and why."""


class Ask(enum.Enum):
    """What to ask of the server."""

    STREAM = "a watch that begins with the whole"
    LIST = "the whole"
    WATCH = "what changes from a version on"


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _List(msgspec.Struct):
    items: list[msgspec.Raw] | None
    metadata: _ListMeta


class _Status(msgspec.Struct):
    code: int = 0
    message: str = ""


_event = msgspec.json.Decoder(_Event).decode
_list = msgspec.json.Decoder(_List).decode
_status = msgspec.json.Decoder(_Status).decode
_stated = msgspec.json.Decoder(Stated).decode


class Replica(Generic[T]):
    """The objects of one collection by name, as far as they were told."""

    def __init__(self, read: Read[T], skipped: Skipped = lambda _name, _why: None) -> None:
        self._read = read
        self._skipped = skipped
        self._known: dict[str, T] = {}
        self._stage: dict[str, T] | None = None  # the next whole, while it comes in
        self._graves: OrderedDict[str, str] = (
            OrderedDict()
        )  # versions of what was deleted: late events do not revive it
        self._version = ""
        self._any_version = True  # the first list may be as old as the server's cache
        self._streams = True
        self.synced = False
        """A whole has come at least once."""
        self.revision = 0
        """Grows whenever `known` changes."""

    @property
    def known(self) -> Mapping[str, T]:
        return self._known

    @property
    def staging(self) -> bool:
        """A streaming list has begun and is not complete."""
        return self._stage is not None

    def ask(self) -> Ask:
        """What to ask next."""
        if self._version:
            return Ask.WATCH
        return Ask.STREAM if self._streams else Ask.LIST

    def query(self, ask: Ask, seconds: int) -> dict[str, str]:
        """The query of that; the server is to end a watch after so many seconds."""
        if ask is Ask.LIST:
            return {"resourceVersion": "0"} if self._any_version else {}
        watch = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        if ask is Ask.STREAM:
            return watch | {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        return watch | {"resourceVersion": self._version}

    def begin(self, ask: Ask) -> None:
        """The server has agreed, and what it says follows."""
        self._stage = {} if ask is Ask.STREAM else None

    def refuse(self, ask: Ask, refusal: Refused) -> bool:
        """Whether there is something else to ask at once instead of what was refused."""
        if ask is Ask.STREAM and refusal.status in _NO_STREAMING_LIST:
            self.stop_streaming()
            return True
        if refusal.outdated:
            self._start_over()
        return False

    def stop_streaming(self) -> None:
        """Remember that this server has no streaming list."""
        self._streams = False
        self._stage = None

    def take_list(self, body: bytes) -> None:
        """Take the whole. Raises `Garbled`."""
        try:
            whole = _list(body)
        except msgspec.DecodeError as error:
            raise Garbled(f"not a list: {error}") from error
        if not whole.metadata.resource_version:
            raise Garbled("a list without a resourceVersion")
        stage: dict[str, T] = {}
        for item in whole.items or ():
            self._put(stage, item)
        self._swap(stage, whole.metadata.resource_version)

    def feed(self, line: bytes) -> None:
        """Take one event. Raises `Garbled`, and `Refused` when the server ends the watch with an error."""
        try:
            event = _event(line)
            if event.type == "ERROR":
                raise self._error(_status(event.object))
            if event.type == "BOOKMARK":
                self._mark(_stated(event.object))
            elif event.type in {"ADDED", "MODIFIED"}:
                self._change(event.object)
            elif event.type == "DELETED":
                self._delete(_stated(event.object))
            else:
                raise Garbled(f"an event of unknown type {event.type[:32]!r}")
        except msgspec.DecodeError as error:
            raise Garbled(f"not a watch event: {error}") from error

    def end(self) -> None:
        """The stream is over; a whole that was not complete is worth nothing."""
        self._stage = None

    def _error(self, status: _Status) -> Refused:
        # Whatever the server could not send us is lost: only a new whole helps.
        self._start_over()
        return Refused(status.code, status.message[:256])

    def _start_over(self) -> None:
        self._version = ""
        self._any_version = False
        self._stage = None

    def _mark(self, bookmark: Stated) -> None:
        meta = bookmark.metadata
        if self._stage is None:
            self._version = meta.resource_version or self._version
        elif (meta.annotations or {}).get(_INITIAL_END) == "true":
            self._swap(self._stage, meta.resource_version)

    def _swap(self, stage: dict[str, T], version: str) -> None:
        self._stage = None
        self._version = version
        self._any_version = True
        self._graves.clear()
        if not self.synced or stage != self._known:
            self._known = stage
            self.revision += 1
        self.synced = True

    def _change(self, text: msgspec.Raw) -> None:
        if self._stage is not None:
            self._put(self._stage, text)
            return
        meta = _stated(text).metadata
        if not self._is_news(meta.name, meta.resource_version):
            return
        self._version = _later(meta.resource_version, self._version)
        self._graves.pop(meta.name, None)
        if not self._put(self._known, text):
            self._known.pop(meta.name, None)
        self.revision += 1

    def _delete(self, gone: Stated) -> None:
        meta = gone.metadata
        if self._stage is not None:
            self._stage.pop(meta.name, None)
            return
        if not self._is_news(meta.name, meta.resource_version):
            return
        self._version = _later(meta.resource_version, self._version)
        self._graves[meta.name] = meta.resource_version
        if len(self._graves) > _MOST_GRAVES:
            self._graves.popitem(last=False)
        if self._known.pop(meta.name, None) is not None:
            self.revision += 1

    def _is_news(self, name: str, version: str) -> bool:
        known = self._known.get(name)
        have = known.metadata.resource_version if known is not None else self._graves.get(name, "")
        return not have or not version or (have != version and _later(version, have) == version)

    def _put(self, place: dict[str, T], text: msgspec.Raw) -> bool:
        """Whether the object could be read. One that cannot must not cost us the others."""
        try:
            item = self._read(text)
        except msgspec.DecodeError as error:
            self._skipped(_name_of(text), str(error))
            return False
        place[item.metadata.name] = item
        return True


def _name_of(text: msgspec.Raw) -> str:
    try:
        return _stated(text).metadata.name
    except msgspec.DecodeError:
        return ""


def _later(one: str, other: str) -> str:
    """The later of two versions; `one` where they cannot be compared.

    Versions of one resource are numbers that grow (KEP-5504); whoever serves something else is taken at its order.
    """
    if one.isdecimal() and other.isdecimal() and int(one) < int(other):
        return other
    return one

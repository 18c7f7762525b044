"""What a declarative file says, as a tree like that of our own file; knows the defaults of its schema."""

from __future__ import annotations

import re

from mcp_sidecar.config.declared_values import Declared, Found
from mcp_sidecar.config.problems import Place
from mcp_sidecar.config.reading import Reading, are_pairs, pairs_in
from mcp_sidecar.config.schema import Key, Section, schema
from mcp_sidecar.config.tree import Node, put
from mcp_sidecar.config.values import value_of
from mcp_sidecar.settings import SIGNALS

_DEFAULT_TIMEOUT, _DEFAULT_BOUND, _DEFAULT_INTERVAL = 10_000, 30_000, 60_000
_DELAYS = {"traces": 5_000, "logs": 1_000}


class Layer:
    """The tree that is made. What its keys do not take is reported where it stands in the file."""

    def __init__(self, reading: Reading, place: Place) -> None:
        self.root = Node("map", place)
        self.place = place
        self._reading = reading

    def write(self, said: Declared) -> None:
        for signal in SIGNALS:
            self._signal(said, signal)
        disabled = said.values.get("disabled")
        if disabled is not None:
            self._put("enabled", {"true": "false", "false": "true"}[disabled.node.text.lower()], disabled)
        if where := said.values.get("always_off"):
            self._put("sample", "0", where)
        else:
            self._put("sample", "1", said.values.get("ratio"), own=True)
        self._put("interval", f"{_DEFAULT_INTERVAL}", said.values.get("interval"), own=True, unit="ms")
        if preferred := said.values.get("temporality"):
            self._put("temporality", preferred.node.text.replace("low_memory", "lowmemory"), preferred)
        self._map("resource", said, "attributes")

    def _signal(self, said: Declared, signal: str) -> None:
        """A signal without an exporter is not sent: so it is where the file leaves its provider out."""
        http, grpc = said.values.get(f"{signal}.http"), said.values.get(f"{signal}.grpc")
        exporter = http or grpc
        self._put(signal, "false" if exporter is None else "true", exporter)
        if exporter is None:
            return
        to = f"{signal}_to"
        self._put(f"{to}.protocol", "http/protobuf" if http else "grpc", exporter)
        self._endpoint(
            said, signal, f"http://localhost:4318/v1/{signal}" if http else "http://localhost:4317", exporter
        )
        self._timeout(said, signal)
        for name in ("compression", "certificate", "client_key", "client_certificate"):
            self._put(f"{to}.{name}", "", said.values.get(f"{signal}.{name}"), own=True)
        self._map(f"{to}.headers", said, f"{signal}.headers")
        if signal in _DELAYS:
            self._put(f"{to}.delay", f"{_DELAYS[signal]}", said.values.get(f"{signal}.delay"), own=True, unit="ms")
            for name in ("queue", "batch"):
                if given := said.values.get(f"{signal}.{name}"):
                    self._put(f"{to}.{name}", given.node.text, given)

    def _endpoint(self, said: Declared, signal: str, usual: str, exporter: Found) -> None:
        given, insecure = said.values.get(f"{signal}.endpoint"), said.values.get(f"{signal}.insecure")
        text = usual if given is None else given.node.text
        if "://" not in text and insecure is not None:
            text = f"{'http' if insecure.node.text.lower() == 'true' else 'https'}://{text}"
        self._put(f"{signal}_to.endpoint", text, given or exporter)

    def _timeout(self, said: Declared, signal: str) -> None:
        """The exporter has a limit and the processor another: the lower one counts. `0` is none."""
        limits = {_DEFAULT_TIMEOUT: said.values.get(f"{signal}.timeout")}
        limits[_DEFAULT_BOUND] = said.values.get(f"{signal}.export_timeout")
        numbers = [(usual if at is None else _number(at), at) for usual, at in limits.items()]
        limit, at = min(((number, at) for number, at in numbers if number), key=_first, default=numbers[0])
        if not limit and at is not None:
            self._reading.report(at.path, "an export without a limit is not for a sidecar", at.node.place)
        else:
            self._put(f"{signal}_to.timeout", f"{limit}", at, own=True, unit="ms")

    def _map(self, key: str, said: Declared, name: str) -> None:
        """Names and values of a list, over those in one text as variables have it."""
        found: dict[str, Node] = {}
        if text := said.values.get(f"{name}_list"):
            if not are_pairs(text.node):
                self._reading.report(text.path, "expected name=value,name=value", text.node.place)
            found = {one.text: value for one, value in pairs_in(text.node)}
        found |= said.pairs.get(name, {})
        if found:
            pairs = [(Node("text", value.place, one), value) for one, value in found.items()]
            put(self.root, ("telemetry", *key.split(".")), Node("map", self.place, pairs=pairs))

    def _put(self, key: str, text: str, at: Found | None, *, own: bool = False, unit: str = "") -> None:
        """With `own` the text is what is meant where nothing was found."""
        text = (at.node.text if at is not None and own else text) + unit
        place = self.place if at is None else at.node.place
        node = Node("any", place, text)
        try:
            value_of(node, _key(key))
        except ValueError as error:
            self._reading.report("" if at is None else at.path, str(error), place)
            return
        put(self.root, ("telemetry", *key.split(".")), node)


def _number(at: Found) -> int:
    """What is no number of milliseconds comes first: it is refused then."""
    return int(at.node.text) if re.fullmatch("[0-9]{1,9}", at.node.text) else -1


def _first(limit: tuple[int, Found | None]) -> int:
    return limit[0]


def _key(path: str) -> Key:
    part: Key | Section = schema().parts["telemetry"]
    for name in path.split("."):
        assert isinstance(part, Section)  # noqa: S101  # a key of ours, written in this file
        part = part.parts[name]
    assert isinstance(part, Key)  # noqa: S101
    return part

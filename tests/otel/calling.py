"""A caller that keeps a ledger: what it called over which face, and what had to come of it. Knows no collector."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc.aio

from mcp_sidecar.v1 import engine_pb2, engine_pb2_grpc
from tests.support.raw_mcp import Modern
from tests.support.sidecar_process import SidecarProcess

FACES = ("grpc", "http")


@dataclass(frozen=True, slots=True)
class Kind:
    """A call with a known end: the tool's label in metrics, `error.type`, and the status code on each face.

    `sent`: it gets as far as the server. `fault`: the SERVER span is an error; what only its caller did wrong is none.
    """

    tool: str
    label: str
    error: str = ""
    grpc: str = "OK"
    http: str = "OK"
    sent: bool = True
    fault: bool = False


GOOD = Kind("echo", "echo")
FAILED = Kind("fail", "fail", "tool_error", fault=True)
UNKNOWN = Kind("no such tool", "_OTHER", "-32602", grpc="INVALID_ARGUMENT")
REFUSED = Kind("crash", "_OTHER", "UNKNOWN_TOOL", "NOT_FOUND", "NOT_FOUND", sent=False)
PLAN = {GOOD: 7, FAILED: 3, UNKNOWN: 2, REFUSED: 4}
"""How often each, on each face: few enough for what callers may have traced at once."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A call that was made, in a trace and below a span of the caller's own."""

    kind: Kind
    face: str
    trace: str
    span: str

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace}-{self.span}-01"

    @property
    def label(self) -> str:
        return self.kind.label

    @property
    def error(self) -> str:
        return self.kind.error

    @property
    def code(self) -> str:
        return str(getattr(self.kind, self.face))


def settings(folder: Path, url: str) -> tuple[str, str]:
    """The words that make a sidecar serve `url` as `up`, and refuse one of its tools."""
    upstream = {"name": "up", "url": url, "tools": {"deny": [REFUSED.tool]}}
    (folder / "config.yaml").write_text(json.dumps({"upstreams": [upstream]}))
    return "-c", str(folder / "config.yaml")


def planned(plan: dict[Kind, int]) -> Iterator[Entry]:
    """What is to be called."""
    for kind, times in plan.items():
        for face in FACES:
            for _ in range(times):
                yield Entry(kind, face, secrets.token_hex(16), secrets.token_hex(8))


async def call_all(sidecar: SidecarProcess, plan: dict[Kind, int]) -> list[Entry]:
    """Call everything that is planned, one after the other; the ledger."""
    ledger = list(planned(plan))
    client = Modern(sidecar.url("up"))
    async with grpc.aio.insecure_channel(sidecar.bound["grpc"]) as channel:
        stub = engine_pb2_grpc.MCPEngineStub(channel)
        for entry in ledger:
            if entry.face == "http":
                await client.call(entry.kind.tool, {"text": "hi"}, traceparent=entry.traceparent)
            else:
                await _over_grpc(stub, entry)
    return ledger


async def _over_grpc(stub: engine_pb2_grpc.MCPEngineAsyncStub, entry: Entry) -> None:
    request = engine_pb2.CallToolRequest(server="up", tool=entry.kind.tool, arguments_json=b'{"text": "hi"}')
    call = stub.CallTool(request, metadata=(("traceparent", entry.traceparent),))
    assert (await call.code()).name == entry.code


def tally(ledger: Iterable[Entry], *by: str) -> dict[tuple[str, ...], int]:
    """How many calls, by these facts of theirs."""
    return dict(Counter(tuple(getattr(entry, one) for one in by) for entry in ledger))

"""What is remembered of calls: plain values, a bounded number of them, and no call."""

from __future__ import annotations

import gc
import weakref

import msgspec
import pytest

from mcp_sidecar.admin.recent import MOST, Recent
from mcp_sidecar.call import Call, Payloads
from mcp_sidecar.errors import InvalidParams, UpstreamLost
from mcp_sidecar.inbound.chain import CallLine
from mcp_sidecar.spans import Received


class WatchedCall(Call, weakref=True):
    """A call whose end can be seen; those of RPCs carry a context."""


def line(server: str = "up", milliseconds: float = 1.0) -> CallLine:
    return CallLine(
        "", "info", "call", "", "tools/call", server, "echo", "OK", "done", milliseconds, "r-1", "t-1", "127.0.0.1:1"
    )


def test_the_last_calls_are_kept_and_older_ones_are_counted():
    recent = Recent()
    for _ in range(MOST + 5):
        recent.tell(Call(rpc="", request_id="r"), 0.0, None, line())
    found = recent.since(0)
    assert (recent.count, len(found)) == (MOST + 5, MOST)
    assert [found[0].number, found[-1].number] == [6, MOST + 5]
    assert [one.number for one in recent.since(MOST + 3)] == [MOST + 4, MOST + 5]
    assert recent.since(MOST + 5) == []


@pytest.mark.covers("B-324")
def test_nothing_that_is_remembered_leads_to_the_call():
    recent = Recent()
    call = WatchedCall(rpc="", request_id="r", span=Received("t" * 32, "s" * 16), payloads=Payloads(b"{}"))
    ended = weakref.ref(call)
    recent.tell(call, 0.0, None, line())
    del call
    gc.collect()
    assert ended() is None
    assert len(recent.since(0)) == 1


def test_the_legs_of_a_traced_call_are_told_from_its_beginning():
    recent = Recent()
    span = Received("t" * 32, "s" * 16)
    leg = span.leg("tools/call")
    leg.attributes = {"server.address": "127.0.0.1:8000"}
    leg.started, leg.ended, leg.error = 10.25, 10.75, "-32000"
    recent.tell(Call(rpc="", request_id="r", started=10.0, span=span), 11.0, None, line())
    shown = msgspec.json.decode(msgspec.json.encode(recent.since(0)[0].shown(100.0)))
    assert shown["at"] == 111.0
    assert shown["legs"] == [
        {
            "name": "tools/call",
            "toward": "127.0.0.1:8000",
            "offset_ms": 250.0,
            "duration_ms": 500.0,
            "error": "-32000",
        }
    ]
    assert "stack" not in shown
    assert "payloads" not in shown


def test_what_a_client_did_wrong_is_no_failure_of_the_server():
    recent = Recent()
    for failure in (None, InvalidParams("no"), UpstreamLost("gone")):
        recent.tell(Call(rpc="", request_id="r"), 0.0, failure, line())
    shown = recent.servers["up"].shown(0.0)
    assert (shown["calls"], shown["failed"]) == (3, 1)


def test_names_of_servers_do_not_fill_memory():
    recent = Recent()
    for number in range(2000):
        recent.tell(Call(rpc="", request_id="r"), 0.0, None, line(server=f"s{number}"))
    assert len(recent.servers) == 1024

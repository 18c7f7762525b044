"""What is remembered of calls: plain values, a bounded number of them, and no call."""

from __future__ import annotations

import gc
import weakref

import msgspec
import pytest

from mcp_sidecar.admin.recent import MOST, Recent
from mcp_sidecar.call import Call, Payloads
from mcp_sidecar.errors import Draining, InvalidParams, UpstreamLost, UpstreamRefused
from mcp_sidecar.inbound.chain import CallLine
from mcp_sidecar.outbound.connection import Row, State
from mcp_sidecar.protocol.outcome import CALLERS_FAULT
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
        recent.tell([(Call(rpc="", request_id="r"), 0.0, None, None)], [line()])
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
    recent.tell([(call, 0.0, None, None)], [line()])
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
    recent.tell([(Call(rpc="", request_id="r", started=10.0, span=span), 11.0, None, None)], [line()])
    shown = msgspec.json.decode(msgspec.json.encode(recent.since(0)[0].shown(100.0, recent.address)))
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


def test_what_was_sent_for_a_call_is_told_without_a_trace_too():
    recent = Recent()
    recent.heed(row("c1", "10.0.0.1:80"))
    call = Call(rpc="", request_id="r", started=10.0)
    call.asked += [("tools/call", "c1", 10.25, 0.5, "UPSTREAM_LOST"), ("tools/call", "gone", 10.8, 0.1, "")]
    recent.tell([(call, 11.0, None, None)], [line()])
    first, second = recent.since(0)[0].shown(100.0, recent.address)["legs"]
    assert (first.toward, first.offset_ms, first.duration_ms, first.error) == (
        "10.0.0.1:80",
        250.0,
        500.0,
        "UPSTREAM_LOST",
    )
    assert (second.name, second.toward, second.error) == ("tools/call", "", "")


@pytest.mark.covers("B-380")
def test_what_a_client_did_wrong_is_no_failure_of_the_server():
    recent = Recent()
    typed = UpstreamRefused(-32602, "no such tool"), UpstreamRefused(-32000, "broken")
    for failure in (None, InvalidParams("no"), UpstreamLost("gone"), *typed):
        recent.tell([(Call(rpc="", request_id="r"), 0.0, failure, None)], [line()])
    for fault in (*sorted(CALLERS_FAULT), "tool_error", "-32000"):
        recent.tell([(Call(rpc="", request_id="r", fault=fault), 0.0, None, None)], [line()])
    shown = recent.of_server("up").shown(0.0)
    assert (shown["calls"], shown["failed"]) == (12, 4)
    assert {"-32700", "-32600", "-32601", "-32602", "-32002"} == CALLERS_FAULT


@pytest.mark.covers("B-392")
def test_what_is_turned_away_because_the_sidecar_leaves_says_nothing_of_the_server():
    recent = Recent()
    for failure in (None, Draining("leaving")):
        recent.tell([(Call(rpc="", request_id="r"), 0.0, failure, None)], [line()])
    shown = recent.of_server("up").shown(0.0)
    assert (recent.count, shown["calls"], shown["failed"]) == (2, 1, 0)


def row(connection_id: str, endpoint: str) -> Row:
    return Row(connection_id, "up", endpoint, "http", "modern", "", State.CONNECTED, 0.0, 0, 0, "", 0.0, 0)


def test_times_are_those_of_each_endpoint_and_of_the_server_together():
    recent = Recent()
    recent.heed(row("c1", "10.0.0.1:80"))
    recent.heed(row("c2", "10.0.0.2:80"))
    for connection_id, milliseconds in (("c1", 10.0), ("c1", 20.0), ("c2", 300.0), ("", 1.0)):
        call = Call(rpc="", request_id="r", connection_id=connection_id)
        recent.tell(
            [(call, 0.0, UpstreamLost("gone") if connection_id == "c2" else None, None)], [line("up", milliseconds)]
        )
    first, second = (recent.of_endpoint("up", f"10.0.0.{number}:80").shown(0.0) for number in (1, 2))
    assert (first["calls"], first["failed"], first["slots"]["mean_ms"][-1]) == (2, 0, 15.0)
    assert (second["calls"], second["failed"], second["p50_ms"]) == (1, 1, 300.0)
    whole = recent.of_server("up").shown(0.0)
    assert (whole["calls"], whole["failed"], whole["slots"]["worst_ms"][-1]) == (4, 1, 300.0)
    assert recent.of_endpoint("up", "10.0.0.3:80").shown(0.0)["calls"] == 0


def test_names_of_servers_and_connections_do_not_fill_memory():
    recent = Recent()
    for number in range(5000):
        recent.heed(row(f"c{number}", "10.0.0.1:80"))
        recent.tell([(Call(rpc="", request_id="r"), 0.0, None, None)], [line(server=f"s{number}")])
    assert (len(recent._times), len(recent._endpoints)) == (1024, 2048)

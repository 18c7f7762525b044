"""What a call looks like to a tracing backend: names, kinds, parents, times, and what counts as an error of whom."""

from __future__ import annotations

import time
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from mcp_sidecar.attributes import SPAN_ATTRIBUTES
from mcp_sidecar.call import Call, Client, Trace, trace
from mcp_sidecar.errors import (
    Cancelled,
    DeadlineExceeded,
    Execution,
    MalformedMessage,
    SidecarError,
    UnknownTool,
    UpstreamLost,
    UpstreamRefused,
)
from mcp_sidecar.sampling import Sampler
from mcp_sidecar.telemetry.traces import Finished, Traces

PARENT = trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "vendor=1", None)


def call(trace: Trace = PARENT, *legs: str, **fields: Any) -> Call:
    """A sampled call with legs that ended with these errors."""
    facts: dict[str, Any] = {
        "method": "tools/call",
        "name": "forecast",
        "server": "weather",
        "execution": Execution.DONE,
    }
    found = Call("/mcp_sidecar.v1.MCPEngine/Call", "rid", trace=trace, **(facts | fields))
    Sampler(1.0).decide(found)
    assert found.span is not None
    for error in legs:
        leg = found.span.leg("tools/call")
        leg.error, leg.ended = error, time.monotonic()
        found.fault = error
        leg.attributes = {"server.address": "10.0.0.7:8080", "jsonrpc.request.id": "1", "gen_ai.tool.name": "forecast"}
    return found


def spans(of: Call, failure: SidecarError | None = None) -> list[ReadableSpan]:
    assert of.span is not None
    made = list(Traces(Resource({})).of(Finished.at(time.monotonic(), of, of.span, failure)))
    for span in made:
        assert SPAN_ATTRIBUTES.issuperset(span.attributes or {})
    return made


def test_a_call_is_a_server_span_with_a_client_span_for_what_was_sent():
    server, client = spans(call(PARENT, ""))
    assert (server.name, client.name) == ("tools/call forecast",) * 2
    assert (server.kind, client.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert server.parent is not None and client.parent is not None
    assert f"{server.context.trace_id:032x}" == f"{client.context.trace_id:032x}" == PARENT.trace_id
    assert f"{server.parent.span_id:016x}" == "00f067aa0ba902b7" and server.parent.is_remote
    assert client.parent.span_id == server.context.span_id
    assert server.context.trace_state.to_header() == "vendor=1"
    assert server.attributes is not None and client.attributes is not None
    assert server.attributes["gen_ai.operation.name"] == "execute_tool"
    assert server.attributes["mcp_sidecar.execution"] == "done"
    assert (client.attributes["server.address"], client.attributes["server.port"]) == ("10.0.0.7", 8080)
    assert server.status.status_code is client.status.status_code is StatusCode.UNSET
    now = time.time_ns()
    assert server.start_time is not None and server.end_time is not None
    assert now - 60e9 < server.start_time <= server.end_time < now + 1e9


def test_a_call_without_a_parent_is_a_root():
    (server,) = spans(call(Trace()))
    assert server.parent is None


@pytest.mark.parametrize(
    ("method", "name", "title", "attribute"),
    [
        ("prompts/get", "greet", "prompts/get greet", "gen_ai.prompt.name"),
        ("resources/read", "file:///a", "resources/read", "mcp.resource.uri"),
        ("tools/list", "", "tools/list", ""),
    ],
)
def test_names_of_spans_have_few_values(method: str, name: str, title: str, attribute: str):
    server, _ = spans(call(PARENT, "", method=method, name=name))
    assert server.name == title
    assert server.attributes is not None
    assert server.attributes.get(attribute, "") == name
    assert "gen_ai.operation.name" not in server.attributes


@pytest.mark.parametrize(
    ("error", "of_the_server"),
    [("tool_error", True), ("-32603", True), ("-32000", True), ("-32602", False), ("-32601", False), ("-32002", False)],
)
def test_what_the_caller_did_wrong_is_no_error_of_the_one_who_answers(error: str, of_the_server: bool):
    server, client = spans(call(PARENT, error))
    assert client.status.status_code is StatusCode.ERROR
    assert server.status.status_code is (StatusCode.ERROR if of_the_server else StatusCode.UNSET)
    assert server.attributes is not None and server.attributes["error.type"] == error


@pytest.mark.parametrize(("code", "of_the_server"), [(-32602, False), (-32603, True)])
def test_an_error_of_a_server_is_judged_alike_where_it_becomes_a_failure(code: int, of_the_server: bool):
    server, _ = spans(call(PARENT, str(code)), UpstreamRefused(code, "no"))
    assert server.status.status_code is (StatusCode.ERROR if of_the_server else StatusCode.UNSET)
    assert server.attributes is not None and server.attributes["error.type"] == str(code)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (UpstreamLost("gone", execution=Execution.UNKNOWN), "UPSTREAM_LOST"),
        (DeadlineExceeded("late", execution=Execution.UNKNOWN), "timeout"),
    ],
)
def test_a_failure_is_an_error_that_says_whether_the_call_may_have_run(failure: SidecarError, error: str):
    server, _ = spans(call(PARENT, error), failure)
    assert server.status.status_code is StatusCode.ERROR
    assert server.attributes is not None
    assert (server.attributes["error.type"], server.attributes["mcp_sidecar.execution"]) == (error, "unknown")


@pytest.mark.covers("B-401")
@pytest.mark.parametrize(
    "failure", [Cancelled("no more", execution=Execution.UNKNOWN), MalformedMessage("not JSON"), UnknownTool("none")]
)
def test_what_the_caller_broke_or_gave_up_is_told_and_no_error_of_ours(failure: SidecarError):
    server, _ = spans(call(PARENT, ""), failure)
    assert server.status.status_code is StatusCode.UNSET
    assert server.attributes is not None and server.attributes["error.type"] == failure.reason


@pytest.mark.covers("B-402")
def test_what_was_cut_short_by_the_deadline_was_not_cancelled_by_its_caller():
    late = DeadlineExceeded("late", execution=Execution.UNKNOWN)
    for failure, error in ((late, "timeout"), (Cancelled("no more"), "CANCELLED")):
        _, client = spans(call(PARENT, "CANCELLED"), failure)
        assert client.attributes is not None and client.attributes["error.type"] == error
        assert client.status.description == error


@pytest.mark.covers("B-400")
def test_spans_that_are_made_again_for_another_try_are_the_same():
    found = call(PARENT, "tool_error")
    assert found.span is not None
    finished = Finished.at(time.monotonic(), found, found.span, None)
    once, again = (list(Traces(Resource({})).of(finished)) for _ in range(2))
    assert [(span.name, span.attributes) for span in once] == [(span.name, span.attributes) for span in again]
    assert again[1].attributes is not None and again[1].attributes["mcp.method.name"] == "tools/call"


@pytest.mark.covers("B-426")
def test_nothing_that_waits_for_a_collector_is_long_or_leads_to_the_call():
    found = call(PARENT, "", method="resources/read", name="fake://" + "m" * 100_000, added=((b"a", b"n" * 100_000),))
    assert found.span is not None
    finished = Finished.at(time.monotonic(), found, found.span, UpstreamRefused(-32603, "no", b"d" * 100_000))
    assert not any(isinstance(part, Call | SidecarError) for part in finished)
    assert len(repr(finished)) < 4096


@pytest.mark.covers("B-427")
def test_of_a_uri_only_what_is_no_key_is_shown():
    server, _ = spans(call(PARENT, "", method="resources/read", name="https://me:canary@x/y?key=canary#canary"))
    assert server.attributes is not None
    assert server.attributes["mcp.resource.uri"] == "https://…@x/y?…"


@pytest.mark.covers("B-403")
def test_each_side_has_the_revision_that_is_spoken_there():
    old = Client("c", "2025-06-18")
    for client, version in ((None, "2026-07-28"), (old, "2025-06-18")):
        server, _ = spans(call(PARENT, "", client=client, protocol_version="2025-11-25"))
        assert server.attributes is not None and server.attributes["mcp.protocol.version"] == version


@pytest.mark.covers("B-432")
def test_a_json_rpc_code_stands_under_the_name_that_the_mcp_conventions_have_for_it():
    for span in spans(call(PARENT, "-32602")):
        assert span.attributes is not None and span.attributes["rpc.response.status_code"] == "-32602"
        assert "rpc.status_code" not in span.attributes


@pytest.mark.parametrize(("text", "shown"), [("7", "7"), ('"abc"', "abc"), ('"a\\"b"', 'a"b')])
def test_ids_of_messages_are_without_quotation_marks(text: str, shown: str):
    found = call(PARENT, "")
    assert found.span is not None
    found.span.message_id = found.span.legs[0].attributes["jsonrpc.request.id"] = text
    assert [(span.attributes or {})["jsonrpc.request.id"] for span in spans(found)] == [shown] * 2


def test_what_comes_over_a_unix_socket_says_so():
    for peer, transport in (("unix:", "unix"), ("unix", "unix"), ("127.0.0.1:4711", "tcp")):
        (server,) = spans(call(PARENT, peer=peer))
        assert server.attributes is not None and server.attributes["network.transport"] == transport


def test_ids_of_tasks_are_no_uris():
    server, _ = spans(call(PARENT, "", method="tasks/get", name="t1"))
    assert "t1" not in (server.attributes or {}).values()


@pytest.mark.parametrize(
    ("peer", "address", "port"),
    [
        ("ipv4:127.0.0.1:4711", "127.0.0.1", 4711),
        ("ipv6:%5B::1%5D:4711", "::1", 4711),
        ("127.0.0.1:4711", "127.0.0.1", 4711),
        ("unix:", None, None),
        ("", None, None),
    ],
)
def test_where_a_call_came_from(peer: str, address: str | None, port: int | None):
    (server,) = spans(call(PARENT, peer=peer))
    assert server.attributes is not None
    assert (server.attributes.get("client.address"), server.attributes.get("client.port")) == (address, port)


def test_a_leg_that_is_still_open_ends_with_its_call():
    held = call(PARENT, "")
    assert held.span is not None
    held.span.legs[0].ended = 0.0
    server, client = spans(held)
    assert client.end_time == server.end_time


def test_a_transport_with_another_parent_is_linked():
    ambient = trace("00-" + "ab" * 16 + "-" + "cd" * 8 + "-01", None, None)
    (server,) = spans(call(PARENT, ambient=ambient))
    (link,) = server.links
    assert f"{link.context.trace_id:032x}" == "ab" * 16

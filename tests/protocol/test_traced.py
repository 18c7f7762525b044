"""A message's own trace context is read, replaced and taken out whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mcp_sidecar.call import NO_TRACE, Trace
from mcp_sidecar.protocol import traced
from mcp_sidecar.protocol.jsonrpc import Request

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def asked(**meta: Any) -> Request:
    return Request("tools/call", b"1", {}, {key: json.dumps(value).encode() for key, value in meta.items()})


def said(request: Request) -> dict[str, Any]:
    return {key: json.loads(value) for key, value in request.meta.items()}


def test_what_is_well_formed_stays_as_it_arrived():
    request = asked(traceparent=PARENT, tracestate="a=1", other=7)
    assert traced.read(request) == (Trace(PARENT, "a=1", ""), request)


@pytest.mark.covers("B-378")
@pytest.mark.parametrize("state", ["", "a", "a=\n", 7, None, {"a": 1}, "a=" + "x" * 3000])
def test_a_state_that_is_none_is_taken_out_and_its_parent_stays(state: Any):
    own, request = traced.read(asked(traceparent=PARENT, tracestate=state, other=7))
    assert own == Trace(PARENT, "", "")
    assert said(request) == {"traceparent": PARENT, "other": 7}


@pytest.mark.covers("B-378")
@pytest.mark.parametrize("parent", ["", "00-zz", 7, None, PARENT + "-extra"])
def test_a_state_goes_with_its_parent(parent: Any):
    own, request = traced.read(asked(traceparent=parent, tracestate="a=1", other=7))
    assert own.traceparent == own.tracestate == ""
    assert said(request) == {"other": 7}


def test_another_context_leaves_nothing_of_the_first():
    request = asked(traceparent=PARENT, tracestate="a=1", baggage="k=v", other=7)
    mine = PARENT.replace("4bf9", "beef")
    assert said(traced.within(request, Trace(mine, "", ""))) == {"traceparent": mine, "other": 7}
    assert said(traced.within(request, NO_TRACE)) == {"other": 7}
    assert said(request)["traceparent"] == PARENT, "messages are shared"

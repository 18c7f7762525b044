"""Metadata that states what the message says, as headers do over HTTP: held to the same cases."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from tests.inbound.grpc.asking import asked, details, failed, text_of, tool, trailers
from tests.inbound.grpc.kinds import ended
from tests.inbound.http.posts import headers_of, message
from tests.inbound.http.test_agreement import ACCEPTED, BAD_PARAMS, CALL, LIST, MISMATCH, REFUSED, UNSUPPORTED, wrapped
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

REASONS = {MISMATCH: "HEADER_MISMATCH", BAD_PARAMS: "INVALID_PARAMS", UNSUPPORTED: "UNSUPPORTED_VERSION"}
STATED = {
    name: case
    for name, case in REFUSED.items()
    if case[2].get("mcp_protocol_version", "stated") is not None and "HB-14" not in name
}
"""But for what is about no version, and about the eras that HTTP tells apart by it."""
SPELT = {name: case for name, case in ACCEPTED.items() if "HB-5" not in name}
"""But for blanks, which clients of gRPC do not send at the ends of a value."""


def stated(body: bytes, **changes: str | None) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in headers_of(body, **changes) if name.startswith("mcp-"))


@pytest.mark.covers("B-424")
@pytest.mark.parametrize(("facts", "body", "changes"), STATED.values(), ids=STATED)
async def test_metadata_that_disagrees_is_refused_as_headers_are(facts: Any, body: bytes, changes: Any):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        error = await failed(sidecar.engine.Call(asked(body), metadata=stated(body, **changes)))
        assert error.code().name == "INVALID_ARGUMENT"
        assert details(error)[ErrorInfo].reason == REASONS[facts], error.details()
        assert trailers(error)["mcp-sidecar-execution"] == "none"
        outcome = await ended(sidecar.engine.CallStream(asked(body), metadata=stated(body, **changes)), "UnaryStream")
        assert outcome.code == "INVALID_ARGUMENT"
        assert up.connections == 0


@pytest.mark.covers("B-424")
@pytest.mark.parametrize(("body", "changes"), SPELT.values(), ids=SPELT)
async def test_metadata_that_agrees_in_another_spelling_is_accepted(body: bytes, changes: Any):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await sidecar.engine.Call(asked(body), metadata=stated(body, **changes))
        assert "result" in json.loads(answer.message_json)
        assert up.violations == []


@pytest.mark.covers("B-424")
async def test_a_message_without_an_id_is_held_to_it_too():
    body = json.dumps({"jsonrpc": "2.0", "method": "tools/list", "params": {}}).encode()
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        error = await failed(sidecar.engine.Call(asked(body), metadata=stated(body)))
        assert details(error)[ErrorInfo].reason == "INVALID_PARAMS"


@pytest.mark.covers("B-424")
@pytest.mark.parametrize("version", ["2025-11-25", "2099-01-01", ""])
async def test_a_stated_version_that_is_not_spoken_is_refused_with_those_that_are(version: str):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        error = await failed(sidecar.engine.Call(asked(LIST), metadata=stated(LIST, mcp_protocol_version=version)))
        told = details(error)[ErrorInfo]
        assert (told.reason, told.metadata["supported"]) == ("UNSUPPORTED_VERSION", "2026-07-28")


@pytest.mark.covers("B-424")
@pytest.mark.parametrize("name", ["mcp-name", "mcp-method", "mcp-protocol-version", "mcp-param-region"])
async def test_what_is_stated_twice_is_refused(name: str):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        metadata = stated(CALL, mcp_param_region="eu")
        twice = (*metadata, (name, dict(metadata)[name]))
        error = await failed(sidecar.engine.Call(asked(CALL), metadata=twice))
        assert details(error)[ErrorInfo].reason == "HEADER_MISMATCH"
        assert up.connections == 0


@pytest.mark.covers("B-424")
async def test_stated_arguments_reach_the_server_and_wrong_ones_do_not():
    body = message(params={"name": "regional", "arguments": {"region": "eu", "text": "x"}})
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        await sidecar.engine.Call(asked(LIST))
        answer = await sidecar.engine.Call(asked(body), metadata=stated(body, mcp_param_region=wrapped("eu")))
        assert text_of(answer.message_json) == "eu: x"
        assert up.requests[-1].headers["mcp-param-region"] == wrapped("eu")
        for wrong in ("us", None):
            error = await failed(sidecar.engine.Call(asked(body), metadata=stated(body, mcp_param_region=wrong)))
            assert details(error)[ErrorInfo].reason == "HEADER_MISMATCH"
        assert len(up.executions) == 1
        assert up.violations == []


@pytest.mark.covers("B-424")
async def test_without_a_version_the_rest_states_nothing():
    body = tool("echo", text="hi")
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        metadata = (("mcp-method", "tools/list"), ("mcp-name", "crash"), ("mcp-param-region", "eu"))
        answer = await sidecar.engine.Call(asked(body), metadata=metadata)
        assert text_of(answer.message_json) == "hi"
        assert "mcp-param-region" not in up.requests[-1].headers
        assert up.violations == []

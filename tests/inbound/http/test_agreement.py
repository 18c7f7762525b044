"""Headers have to say what the body says, else no server hears of it (reliability reference, HB-1 to HB-14)."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.inbound.http.posts import META, Answer, exchanged, headers_of, message, post, written
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar
from tests.wire.loopback import dial

MISMATCH = (400, -32020)
BAD_PARAMS = (400, -32602)
UNSUPPORTED = (400, -32022)
READ = message("resources/read", {"uri": "fake://text"})
PROMPT = message("prompts/get", {"name": "greet"})
LIST = message("tools/list")
CALL = message()


def wrapped(text: str) -> str:
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in META.items() if not name.endswith(key)}


REFUSED: dict[str, tuple[tuple[int, int], bytes, dict[str, str | None]]] = {
    "HB-1 no Mcp-Method": (MISMATCH, CALL, {"mcp_method": None}),
    "HB-1 no MCP-Protocol-Version": (MISMATCH, CALL, {"mcp_protocol_version": None}),
    "HB-1 no Mcp-Name on tools/call": (MISMATCH, CALL, {"mcp_name": None}),
    "HB-1 no Mcp-Name on resources/read": (MISMATCH, READ, {"mcp_name": None}),
    "HB-1 no Mcp-Name on prompts/get": (MISMATCH, PROMPT, {"mcp_name": None}),
    "HB-1 an empty Mcp-Method": (MISMATCH, CALL, {"mcp_method": ""}),
    "HB-2 another method": (MISMATCH, CALL, {"mcp_method": "tools/list"}),
    "HB-3 another name": (MISMATCH, CALL, {"mcp_name": "safe"}),
    "HB-3 another URI": (MISMATCH, READ, {"mcp_name": "fake://other"}),
    "HB-3 a name in other letters": (MISMATCH, CALL, {"mcp_name": "Echo"}),
    "HB-4 a method in capitals": (MISMATCH, CALL, {"mcp_method": "TOOLS/CALL"}),
    "HB-6 base64 without padding": (
        MISMATCH,
        message(params={"name": "a", "arguments": {}}),
        {"mcp_name": "=?base64?YQ?="},
    ),
    "HB-6 a foreign alphabet": (MISMATCH, CALL, {"mcp_name": "=?base64?ZWN*obw==?="}),
    "HB-6 base64 of no UTF-8": (MISMATCH, CALL, {"mcp_name": "=?base64?/w==?="}),
    "HB-6 base64 with stray bits": (
        MISMATCH,
        message(params={"name": "a", "arguments": {}}),
        {"mcp_name": "=?base64?YR==?="},
    ),
    "HB-6 markers in capitals": (MISMATCH, CALL, {"mcp_name": wrapped("echo").upper()}),
    "HB-6 no end marker": (MISMATCH, CALL, {"mcp_name": wrapped("echo")[:-2]}),
    "HB-6 twice wrapped": (MISMATCH, CALL, {"mcp_name": wrapped(wrapped("echo"))}),
    "HB-11 a name in the header only": (BAD_PARAMS, message(params={"arguments": {}}), {"mcp_name": "echo"}),
    "HB-11 null in the body": (BAD_PARAMS, message(params={"name": None}), {"mcp_name": "echo"}),
    "HB-11 a number in the body": (BAD_PARAMS, message(params={"name": 7}), {"mcp_name": "7"}),
    "HB-12 another version in _meta": (
        MISMATCH,
        message(params={"name": "echo", "_meta": {**META, "io.modelcontextprotocol/protocolVersion": "2025-11-25"}}),
        {},
    ),
    "HB-12 a version that is no string": (
        MISMATCH,
        message(params={"name": "echo", "_meta": {**META, "io.modelcontextprotocol/protocolVersion": 20260728}}),
        {},
    ),
    "HB-12 a version of the future": (UNSUPPORTED, CALL, {"mcp_protocol_version": "2099-01-01"}),
    "HB-13 no version in _meta": (BAD_PARAMS, message(params={"name": "echo", "_meta": without("Version")}), {}),
    "HB-13 no capabilities": (BAD_PARAMS, message(params={"name": "echo", "_meta": without("Capabilities")}), {}),
    "HB-13 capabilities that are no object": (
        BAD_PARAMS,
        message(params={"name": "echo", "_meta": {**META, "io.modelcontextprotocol/clientCapabilities": []}}),
        {},
    ),
    "HB-13 no _meta": (BAD_PARAMS, message(params={"name": "echo", "_meta": {}}), {}),
    "HB-14 a version of 2025": (MISMATCH, CALL, {"mcp_protocol_version": "2025-11-25"}),
}

ACCEPTED: dict[str, tuple[bytes, dict[str, str | None]]] = {
    "HB-5 blanks around the values": (CALL, {"mcp_method": "  tools/call\t", "mcp_name": "\t echo "}),
    "HB-6 a name in base64": (CALL, {"mcp_name": wrapped("echo")}),
    "a list needs no name": (LIST, {}),
    "a session of another era is ignored": (LIST, {"mcp_session_id": "abc", "last_event_id": "7"}),
}


@pytest.mark.covers("B-41")
@pytest.mark.parametrize(("facts", "body", "changes"), REFUSED.values(), ids=REFUSED)
async def test_headers_that_disagree_are_refused_and_no_server_hears_of_it(facts, body, changes):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await post(sidecar.url("up"), body, **changes)
        assert answer.facts == facts, answer
        assert answer.message["id"] == 1
        assert answer.headers["mcp-sidecar-execution"] == "none"
        assert up.connections == 0


@pytest.mark.covers("B-41")
@pytest.mark.parametrize(("body", "changes"), ACCEPTED.values(), ids=ACCEPTED)
async def test_headers_that_agree_in_another_spelling_are_accepted(body, changes):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await post(sidecar.url("up"), body, **changes)
        assert answer.facts == (200, None), answer
        assert up.violations == []


@pytest.mark.covers("B-41")
async def test_header_names_are_the_same_in_any_letters():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        for spell in (str.lower, str.upper, str.title):
            pairs = [(spell(name), value) for name, value in headers_of(CALL)]
            answer = await post(sidecar.url("up"), CALL, pairs)
            assert answer.facts == (200, None), answer


@pytest.mark.covers("B-41")
@pytest.mark.parametrize("name", ["mcp-name", "mcp-method", "mcp-protocol-version", "mcp-param-region"])
@pytest.mark.parametrize("same", [True, False], ids=["the same", "different"])
async def test_a_mirrored_header_that_is_there_twice_is_refused(name, same):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        pairs = headers_of(CALL, mcp_param_region="eu")
        value = dict(pairs)[name]
        answer = await post(sidecar.url("up"), CALL, [*pairs, (name.title(), value if same else "other")])
        assert answer.facts == MISMATCH, answer
        assert up.connections == 0


@pytest.mark.covers("B-41", "B-44")
@pytest.mark.parametrize("byte", [b"\r", b"\n", b"\0", b"\x7f", b"\x80", b"\xff"], ids=repr)
async def test_a_mirrored_header_with_bytes_no_header_may_hold_is_refused(byte):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        sent = written(sidecar.url("up"), CALL, headers_of(CALL)).replace(
            b"mcp-name: echo", b"mcp-name: ec" + byte + b"ho"
        )
        answer = await exchanged(sidecar.url("up"), sent)
        assert answer.status == 400
        assert answer.headers["connection"] == "close"
        assert up.connections == 0


@pytest.mark.covers("B-41")
async def test_the_versions_that_are_spoken_stand_in_the_refusal_of_another():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await post(sidecar.url("up"), CALL, mcp_protocol_version="2099-01-01")
        assert answer.message["error"]["data"] == {"supported": ["2026-07-28"], "requested": "2099-01-01"}


@pytest.mark.covers("B-13", "B-40")
async def test_parameter_headers_of_the_client_reach_the_server_as_they_are():
    body = message(params={"name": "regional", "arguments": {"region": "eu", "text": "x"}})
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await post(sidecar.url("up"), body, mcp_param_region=wrapped("eu"), mcp_param_unknown="a, b;c=d")
        assert answer.facts == (200, None), answer
        heard = up.requests[-1].headers
        assert heard["mcp-param-region"] == wrapped("eu")
        assert heard["mcp-param-unknown"] == "a, b;c=d"
        assert up.violations == []


@pytest.mark.covers("B-41")
@pytest.mark.parametrize("given", [None, "us"], ids=["HB-10 omitted", "HB-10 another value"])
async def test_what_the_server_says_of_a_wrong_parameter_header_reaches_the_client(given):
    body = message(params={"name": "regional", "arguments": {"region": "eu"}})
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await post(sidecar.url("up"), body, mcp_param_region=given)
        assert answer.facts == MISMATCH, answer
        assert answer.headers["mcp-sidecar-execution"] == "done"  # the server has answered
        assert up.executions == []


@pytest.mark.covers("B-41")
async def test_a_head_that_agreed_once_is_held_to_the_next_body_too():
    """What was concluded from a head holds for bodies that say the same, and for no others."""
    other_meta = message(params={"name": "echo", "arguments": {"text": "hi"}, "_meta": {**META, "x": 1}})
    no_version = message(params={"name": "echo", "_meta": without("Version")})
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        url = sidecar.url("up")
        async with dial(urlsplit(url).port or 0) as peer:

            async def facts(body: bytes) -> tuple[int, int | None]:
                await peer.send(written(url, compact(body), headers_of(CALL)))
                answer = await peer.answer()
                return Answer(
                    answer.status, {key.decode(): value.decode() for key, value in answer.headers.items()}, answer.body
                ).facts

            assert await facts(CALL) == (200, None)
            assert await facts(CALL) == (200, None)
            assert await facts(message(params={"name": "other", "arguments": {}})) == MISMATCH
            assert await facts(other_meta) == (200, None)
            assert await facts(no_version) == BAD_PARAMS
            assert await facts(LIST) == MISMATCH
            assert await facts(message(params={"arguments": {}})) == BAD_PARAMS
            assert await facts(CALL) == (200, None)
        assert len(up.executions) == 4


def compact(body: bytes) -> bytes:
    """As most clients write JSON."""
    return json.dumps(json.loads(body), separators=(",", ":")).encode()

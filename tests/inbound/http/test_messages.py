"""A body that two readers could understand differently is refused with a reason, and no server hears of it."""

from __future__ import annotations

import json

import pytest

from tests.inbound.http.posts import headers_of, message, post
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

CALL = message()
PARSE, INVALID, PARAMS = (400, -32700), (400, -32600), (400, -32602)


def nested(depth: int) -> bytes:
    """A call, of a tool that ignores its arguments, whose whole message is `depth` levels deep."""
    inside = depth - 3  # the message, its params, the arguments
    deep = b"[" * inside + b"1" + b"]" * inside
    return message(params={"name": "ask_ping", "arguments": {"a": "DEEP"}}).replace(b'"DEEP"', deep)


REFUSED = {
    "nothing": (PARSE, b""),
    "blanks": (PARSE, b"  \n"),
    "no JSON": (PARSE, b"hello"),
    "cut short": (PARSE, CALL[:-1]),
    "JS-1 a key twice": (INVALID, CALL[:-1] + b', "id": 2}'),
    "JS-1 the method twice": (INVALID, b'{"method": "tools/list", ' + CALL[1:]),
    "JS-1 a key twice in another spelling": (INVALID, CALL[:-1] + b', "\\u0069d": 2}'),
    "JS-1 a parameter twice": (INVALID, CALL.replace(b'"params": {', b'"params": {"name": "danger", ')),
    "JS-2 a method with NUL": (INVALID, message(method="tools/call\0", params={})),
    "JS-2 an empty method": (INVALID, message(method="", params={})),
    "JS-2 Method": (INVALID, CALL.replace(b'"method"', b'"Method"')),
    "JS-2 PARAMS": (INVALID, CALL.replace(b'"params"', b'"PARAMS"')),
    "JS-2 a long s": (INVALID, CALL.replace(b'"params"', '"param\u017f"'.encode())),
    "JS-2 a stray key": (INVALID, message(extra=1)),
    "JS-3 NaN": (PARSE, CALL.replace(b'"hi"', b"NaN")),
    "JS-3 Infinity": (PARSE, CALL.replace(b'"hi"', b"-Infinity")),
    "JS-5 a null id": (INVALID, message(id=None)),
    "JS-5 a float id": (INVALID, message(id=1.5)),
    "JS-5 a boolean id": (INVALID, message(id=True)),
    "JS-5 an object id": (INVALID, message(id={})),
    "JS-4 an id of 5000 digits": (INVALID, CALL.replace(b'"id": 1', b'"id": ' + b"9" * 5000)),
    "JS-6 no UTF-8": (PARSE, CALL.replace(b"hi", b"\xff")),
    "JS-6 overlong": (PARSE, CALL.replace(b"hi", b"\xc0\xaf")),
    "JS-6 an encoded surrogate": (PARSE, CALL.replace(b"hi", b"\xed\xa0\x80")),
    "JS-6 a byte order mark": (PARSE, b"\xef\xbb\xbf" + CALL),
    "JS-6 UTF-16": (PARSE, CALL.decode().encode("utf-16")),
    "JS-7 65 levels": (PARSE, nested(65)),
    "JS-7 200 000 brackets": (PARSE, b"[" * 200_000),
    "JS-7 200 000 braces": (PARSE, b'{"a":' * 200_000),
    "JS-8 a batch": (INVALID, b"[" + CALL + b"]"),
    "JS-8 an empty batch": (INVALID, b"[]"),
    "JS-9 a response": (INVALID, b'{"jsonrpc": "2.0", "id": 1, "result": {}}'),
    "JS-9 a request that is a response as well": (INVALID, message(result={})),
    "JS-10 something behind it": (PARSE, CALL + b"{}"),
    "JS-10 a comment": (PARSE, CALL[:-1] + b"/* hello */}"),
    "JS-10 a comma too many": (PARSE, CALL[:-1] + b",}"),
    "another JSON-RPC": (INVALID, message(jsonrpc="1.0")),
    "a string": (INVALID, b'"tools/call"'),
    "params in a list": (PARAMS, b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ["echo"]}'),
    "_meta that is no object": (PARAMS, message(params={"name": "echo", "_meta": 1})),
    "params that are null": (PARAMS, b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": null}'),
}  # fmt: skip


@pytest.mark.covers("B-03", "B-42")
@pytest.mark.parametrize(("facts", "body"), REFUSED.values(), ids=REFUSED)
async def test_a_message_of_doubtful_form_is_refused_with_a_reason(facts, body):
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await post(sidecar.url("up"), body, headers_of(CALL))
        assert answer.facts == facts, answer
        assert answer.message["error"]["message"]
        assert answer.message.get("id", 1) == 1
        assert answer.headers["mcp-sidecar-execution"] == "none"
        assert up.connections == 0


@pytest.mark.covers("B-03")
async def test_sixty_four_levels_are_deep_enough():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        assert (await post(sidecar.url("up"), nested(64), mcp_name="ask_ping")).status == 200


@pytest.mark.covers("B-02")
@pytest.mark.parametrize("text", ["1e-400", "9" * 5000])
async def test_a_number_no_computer_holds_passes_or_is_refused_and_is_never_rounded(text):
    body = CALL.replace(b'"hi"', text.encode())
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await post(sidecar.url("up"), body, headers_of(CALL))
        if up.connections:
            assert text.encode() in up.requests[-1].body
        else:
            assert answer.facts == PARSE


@pytest.mark.covers("B-02", "B-03")
async def test_a_lone_surrogate_is_passed_as_it_is_or_refused():
    body = CALL.replace(b'"hi"', b'"\\ud800"')
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        answer = await post(sidecar.url("up"), body, headers_of(CALL))
        assert answer.facts == PARSE if not up.connections else rb'"\ud800"' in up.requests[-1].body


@pytest.mark.covers("B-03")
async def test_a_wrong_message_is_not_repeated_in_the_log():
    async with FakeServer() as up, Sidecar({"up": up.url}) as sidecar:
        secret = json.dumps({"password": "canary-99"}).encode()
        await post(sidecar.url("up"), secret, headers_of(CALL))
        assert not [line for line in sidecar.lines if "canary-99" in str(line)]

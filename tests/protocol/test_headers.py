"""Values of mirrored headers: `protocol.headers`."""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.errors import HeaderMismatch
from mcp_sidecar.protocol import headers
from mcp_sidecar.protocol.jsonrpc import Request

anything = st.text(st.characters(codec="utf-8"))


@pytest.mark.covers("B-13")
@given(anything)
def test_any_name_comes_back_from_a_header_that_is_safe_to_send(name):
    value = headers.encode(name)
    assert re.fullmatch(rb"[!-~]([ -~]*[!-~])?", value)
    assert headers.decode(value) == name
    assert headers.decode(b" \t" + value + b"\t ") == name


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1))
def test_printable_names_stay_readable_unless_they_look_wrapped(name):
    plain = name == name.strip() and not (name.startswith("=?base64?") and name.endswith("?="))
    assert (headers.encode(name) == name.encode()) is plain


@pytest.mark.parametrize("name", ["é", "", " a", "a ", "a\nb", "a\r\nX-Evil: 1", "\x00", "\x7f", "=?base64?aGk=?="])
def test_what_a_header_cannot_hold_is_wrapped(name: str):
    value = headers.encode(name)
    assert value == b"=?base64?" + base64.b64encode(name.encode()) + b"?="


@pytest.mark.parametrize(
    "raw",
    [
        b"=?base64?a?=",
        b"=?base64?====?=",
        b"=?base64?aGk?=",
        b"=?base64?aG k=?=",
        b"=?base64?aGk=\t?=",
        b"=?base64?_-8=?=",
        b"=?base64?/w==?=",
        b"=?base64?aGl=?=",
        b"=?base64?\xe9?=",
    ],
    ids=[
        "short",
        "padding only",
        "no padding",
        "a blank",
        "a tab",
        "URL alphabet",
        "no UTF-8",
        "stray bits",
        "latin-1",
    ],
)
@pytest.mark.covers("B-41")
def test_malformed_base64_is_refused(raw: bytes):
    with pytest.raises(HeaderMismatch):
        headers.decode(raw)


@pytest.mark.parametrize(
    "raw", [b"=?BASE64?aGk=?=", b"=?base64?aGk=", b"aGk=?=", b"=?utf-8?B?aGk=?=", b"=?base64?=", b"", b"echo"]
)
def test_what_is_not_wrapped_exactly_so_is_itself(raw: bytes):
    assert headers.decode(raw) == raw.decode()


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("tools/call", {"name": b'"echo"'}, "echo"),
        ("prompts/get", {"name": rb'"gr\u00e9et"'}, "gréet"),
        ("resources/read", {"uri": b'"fake://x"', "name": b'"y"'}, "fake://x"),
        ("tasks/get", {"taskId": b'"t"'}, "t"),
        ("tools/call", {"name": b"1"}, None),
        ("tools/call", {}, None),
        ("tools/list", {"name": b'"echo"'}, None),
        ("com.example/x", {"name": b'"echo"'}, None),
    ],
)
def test_only_some_methods_name_something(method: str, params: dict[str, bytes], name: str | None):
    assert headers.name_of(Request(method, params=params)) == name

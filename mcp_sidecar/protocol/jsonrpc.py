"""JSON-RPC 2.0 messages as slices of the bytes they arrived in; knows no method and no wire.

A message is peeked at, never rebuilt: the envelope, the top level of `params` and the members of `params._meta` are
written by us from the slices, every value below goes through byte for byte. What is refused here (duplicate keys,
unknown envelope members, odd ids, depth) therefore means the same to us and to whoever reads the message next.

Every function that reads bytes raises `InvalidCall` (or its kin `MalformedMessage`, `InvalidParams`) and nothing else.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated

import msgspec

from mcp_sidecar.errors import InvalidCall, InvalidParams
from mcp_sidecar.protocol.json_object import MESSAGE, Members, as_string, compact, encode_object, members
from mcp_sidecar.protocol.json_text import MAX_DEPTH, SHORT, check_text, decode, holds_infinity, is_deeper

__all__ = [
    "MAX_ID_BYTES",
    "Members",
    "Message",
    "Request",
    "Response",
    "as_string",
    "encode_error",
    "encode_object",
    "members",
    "parse",
    "parse_of_client",
    "parse_request",
    "read_error",
    "usual_response",
]

MAX_ID_BYTES = 256
_LONGEST_NUMBER = 20
_DEPTH_LEFT = MAX_DEPTH - 2  # to a parameter, below the message and its `params`

_ABSENT = msgspec.Raw(b"")


class _Usual(msgspec.Struct, forbid_unknown_fields=True):
    """A request as nearly all are."""

    jsonrpc: str
    id: msgspec.Raw
    method: str
    params: dict[str, msgspec.Raw]


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    jsonrpc: str
    method: str | None = None
    id: msgspec.Raw = _ABSENT
    params: msgspec.Raw = _ABSENT
    result: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    """A successful response as nearly all are."""

    jsonrpc: str
    id: msgspec.Raw
    result: msgspec.Raw


_ENVELOPE = frozenset(("jsonrpc", "id", "method", "params", "result", "error"))
_VERSION = b'"2.0"'
_METHOD = re.compile(r"[!-~]{1,128}\Z")
_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]*)\Z")
_BARE = len('{"jsonrpc":"2.0"}')
_USUAL = len('{"jsonrpc":"2.0","id":,"method":"","params":}')
_PARAMS = b'"params":'
_usual = msgspec.json.Decoder(_Usual)
_answer = msgspec.json.Decoder(_Answer)
_ANSWER = len('{"jsonrpc":"2.0","id":,"result":}')
_envelope = msgspec.json.Decoder(_Envelope)
_QUOTE = ord('"')
_BRACE = ord("{")
_encode = msgspec.json.encode


class Request(msgspec.Struct):
    """A request, or a notification when `id` is empty.

    `id` is JSON text; `meta` holds the members of `params._meta`. Both may be shared: a change makes a new request.
    `raw` is the JSON text of the two as they arrived, if we would write the same; empty if they are to be written.
    """

    method: str
    id: bytes = b""
    params: Mapping[str, bytes] = msgspec.field(default_factory=dict)
    meta: Mapping[str, bytes] = msgspec.field(default_factory=dict)
    raw: bytes = b""

    def with_params(self, more: Mapping[str, bytes]) -> Request:
        """The same with other or additional parameters."""
        return Request(self.method, self.id, {**self.params, **more}, self.meta)

    def with_meta(self, more: Mapping[str, bytes]) -> Request:
        """The same with other or additional members of `_meta`."""
        return Request(self.method, self.id, self.params, {**self.meta, **more})

    def encode(self, request_id: bytes) -> bytes:
        """The whole message under another id (none when empty)."""
        method = _methods.get(self.method) or _encode(self.method)
        if self.raw and request_id:
            return b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":%b}' % (request_id, method, self.raw)
        start = b'{"jsonrpc":"2.0","id":%b,"method":%b' if request_id else b'{"jsonrpc":"2.0"%b,"method":%b'
        head = start % (request_id, method)
        members = [b"%b:%b" % (_encode(key), value) for key, value in self.params.items()]
        if self.meta:
            members.append(b'"_meta":%b' % encode_object(self.meta))
        return b'%b,"params":{%b}}' % (head, b",".join(members)) if members else head + b"}"

    def text(self, name: str) -> str | None:
        """A string parameter, or None when it is absent or no string."""
        return as_string(self.params.get(name))


class Response(msgspec.Struct):
    """The end of an exchange: exactly one of `result` and `error` is set. `id` is JSON text."""

    id: bytes
    result: bytes | None = None
    error: bytes | None = None

    def encode(self, request_id: bytes) -> bytes:
        """The whole message under another id; without one when it is empty (an answer to an unreadable request)."""
        if request_id and self.result:
            return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (request_id, self.result)
        start = b'{"jsonrpc":"2.0","id":%b' % request_id if request_id else b'{"jsonrpc":"2.0"'
        if self.error is not None:
            return b'%b,"error":%b}' % (start, self.error)
        return b'%b,"result":%b}' % (start, self.result or b"{}")


Message = Request | Response


def parse(data: bytes) -> Message:
    """One JSON-RPC message. Batches are refused: MCP dropped them in 2025-06-18."""
    if not data.isascii() or data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        check_text(data)
    try:
        found = _envelope.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _parse_carefully(data)
    request_id = bytes(found.id)
    # As in `json_object.compact`: a message as short as can be has nothing in it that we did not see.
    shortest = _BARE + (len(request_id) + 6 if request_id else 0)
    if found.method is not None:
        params = bytes(found.params)
        shortest += len(found.method) + 12 + (len(params) + 10 if params else 0)
        if shortest == len(data) and found.jsonrpc == "2.0":
            return _request(found.method, request_id, params)
    elif request_id and found.jsonrpc == "2.0":
        result = bytes(found.result)
        if result[:1] == b"{" and shortest + len(result) + 10 == len(data):
            return Response(_id(request_id), result)
    return _parse_carefully(data)


def usual_response(data: bytes, request_id: bytes) -> Response | None:
    """The successful response to `request_id`, if `data` is one in compact JSON; None for any other message."""
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        return None
    try:
        if not data.isascii():
            data.decode()
        found = _answer.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    result = bytes(found.result)
    if _ANSWER + len(request_id) + len(result) != len(data) or found.jsonrpc != "2.0" or result[0] != _BRACE:
        return None
    return Response(request_id, result) if bytes(found.id) == request_id else None


def _parse_carefully(data: bytes) -> Message:
    """The same for a message that is oddly spelt or wrong: finds the words for what is."""
    envelope = members(data, MESSAGE)
    if not _ENVELOPE.issuperset(envelope):
        raise InvalidCall(_stray_key(envelope))
    if envelope.get("jsonrpc") != _VERSION:
        raise InvalidCall('"jsonrpc" must be "2.0"', violations=(("jsonrpc", 'must be "2.0"'),))
    if "method" not in envelope:
        return _response(envelope)
    for stray in ("result", "error"):
        if stray in envelope:
            raise InvalidCall(f'a request has no "{stray}"', violations=((stray, "does not belong here"),))
    return _request(as_string(envelope["method"]), envelope.get("id", b""), envelope.get("params", b""))


def parse_of_client(data: bytes) -> Message:
    """As `parse`; quickest for what clients mostly send."""
    return _usual_request(data) or parse(data)


def parse_request(data: bytes) -> Request:
    """One request or notification; anything else is refused."""
    message = _usual_request(data) or parse(data)
    if isinstance(message, Response):
        raise InvalidCall("a request is expected, this is a response", violations=(("method", "is missing"),))
    return message


def _usual_request(data: bytes) -> Request | None:
    """A request as nearly all are: compact, with an integer id and with parameters. None for any other message.

    A message as short as can be has nothing in it that we did not see.
    """
    try:
        if not data.isascii():
            data.decode()
        found = _usual.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    method, request_id = found.method, bytes(found.id)
    params: Members = {}
    length = 1  # of the text of `params`, if it is compact
    for key, raw in found.params.items():
        value = params[key] = bytes(raw)
        length += len(key) + len(value) + 4
    if _USUAL + len(request_id) + len(method) + length != len(data) or found.jsonrpc != "2.0":
        return None
    if not request_id.isdigit() or len(request_id) > _LONGEST_NUMBER:
        return None
    own = params.pop("_meta", b"")
    meta = _metas.get(own) or _known_meta(own)
    if meta is None or not (method in _methods or _is_method(method)):
        return None
    for value in params.values():
        if value[0] != _QUOTE and not _is_tame(value):
            return None
    # What is in front of it in a message like this cannot hold the same words.
    at = data.find(_PARAMS) + len(_PARAMS)
    return Request(method, request_id, params, meta, data[at : at + length])


_methods: dict[str, bytes] = {}
"""Names of methods, and their JSON text."""
_MOST_METHODS = 256


def _is_method(name: str) -> bool:
    if name in _methods:
        return True
    if not _METHOD.match(name):
        return False
    if len(_methods) >= _MOST_METHODS:  # clients choose these names: what some fill it with may not stay
        _methods.clear()
    _methods[name] = _encode(name)
    return True


def _is_tame(value: bytes) -> bool:
    """A parameter is neither nested too deep nor has a number that is too large, as far as a quick look tells."""
    if is_deeper(value, _DEPTH_LEFT):
        return False
    if len(value) > SHORT:
        return not holds_infinity(value)
    try:
        decode(value)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return False
    return True


def _check_numbers(params: Members, request_id: bytes) -> None:
    """Refuse numbers that no double holds: some would read infinity, and others nothing at all."""
    for key, value in params.items():
        if value[0] != _QUOTE and holds_infinity(value):
            what = "holds a number that is too large for a double"
            refused = InvalidParams(f'"params.{key[:64]}" {what}', violations=((f"params.{key[:64]}", what),))
            refused.message_id = request_id
            raise refused


def _request(method: str | None, request_id: bytes, params: bytes) -> Request:
    """`request_id` and `params` are JSON text, empty when they are missing."""
    if method is None or not _is_method(method):
        what = "must be a string of at most 128 printable ASCII characters"
        raise InvalidCall(f'"method" {what}', violations=(("method", what),))
    if request_id:
        _id(request_id)
    if not params:
        return Request(method, request_id)
    try:
        found = _object(params, "params")
        _check_numbers(found, request_id)
        own = found.pop("_meta", None)
        return Request(method, request_id, found, {} if own is None else _object(own, "params._meta"))
    except InvalidCall as error:
        error.message_id = request_id
        raise


def _response(envelope: Members) -> Response:
    result, error = envelope.get("result"), envelope.get("error")
    if (result is None) == (error is None):
        raise InvalidCall('a message has exactly one of "method", "result" and "error"')
    if "params" in envelope:
        raise InvalidCall('a response has no "params"', violations=(("params", "does not belong here"),))
    if result is not None and result[0] != _BRACE:
        raise InvalidCall('"result" must be an object', violations=(("result", "must be an object"),))
    if error is not None and _read_error(error) is None:
        what = "must be an object with an integer code"
        raise InvalidCall(f'"error" {what}', violations=(("error", what),))
    raw = envelope.get("id")
    # An error about an unreadable request carries id null or none at all (JSON-RPC 2.0 §5).
    request_id = b"" if raw is None or (error is not None and raw == b"null") else _id(raw)
    return Response(request_id, result, error)


def _id(raw: bytes) -> bytes:
    # The decoder has seen to it that it is JSON: digits alone are an integer.
    if len(raw) <= MAX_ID_BYTES and (raw.isdigit() or raw[:1] == b'"' or _INTEGER.match(raw)):
        return raw
    raise InvalidCall(
        f'"id" must be a string or an integer of at most {MAX_ID_BYTES} bytes',
        violations=(("id", "must be a string or an integer"),),
    )


def _object(raw: bytes, place: str) -> Members:
    if raw[:1] != b"{":
        raise InvalidParams(f'"{place}" must be an object', violations=((place, "must be an object"),))
    return members(raw, f'"{place}"')


def _stray_key(envelope: Members) -> str:
    stray = next(key for key in envelope if key not in _ENVELOPE)
    near = difflib.get_close_matches(stray[:40].lower(), sorted(_ENVELOPE), n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    return f"{_encode(stray[:40]).decode()} is no member of a JSON-RPC message{hint}"


_metas: dict[bytes, Members] = {b"": {}}
_MOST_METAS = 256
_LONGEST_META = 1024


def _known_meta(raw: bytes) -> Members | None:
    """As `json_object.compact`, but None too for what is not tame.

    Clients send the same `_meta` again and again: it is read once.
    """
    found = _metas.get(raw)
    if found is not None or not _is_tame(raw):
        return found
    if (found := compact(raw)) is not None and len(raw) <= _LONGEST_META:
        if len(_metas) >= _MOST_METAS:
            _metas.clear()
            _metas[b""] = {}
        _metas[raw] = found
    return found


class _Error(msgspec.Struct):
    code: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # it is shown and kept: not thousands of digits
    message: str = ""  # required, but clients can do without


_error = msgspec.json.Decoder(_Error)


def read_error(response: Response) -> tuple[int, str] | None:
    """Code and message of an error response; None for any other."""
    return None if response.error is None else _read_error(response.error)


def _read_error(raw: bytes) -> tuple[int, str] | None:
    try:
        error = _error.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return error.code, error.message


def encode_error(code: int, message: str, data: Mapping[str, object] | None = None) -> bytes:
    """The value of a response's `error` member."""
    error: dict[str, object] = {"code": code, "message": message}
    if data:
        error["data"] = data
    return _encode(error)

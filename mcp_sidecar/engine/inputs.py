"""Results that ask for input (MCP 2026-07-28, basic/patterns/mrtr): reading, writing and answering them. No wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mcp_sidecar.errors import Execution, InvalidCall, InvalidParams, UpstreamProtocolError
from mcp_sidecar.protocol import jsonrpc
from mcp_sidecar.protocol.jsonrpc import Request, Response

RESPONSES = "inputResponses"
STATE = "requestState"
# The methods whose results may ask.
ASKING = frozenset(("tools/call", "prompts/get", "resources/read"))
_MARK = b'"input_required"'
_MOST = 64  # questions in one result


@dataclass(frozen=True, slots=True)
class InputRequired:
    """Questions by their keys, and the server's state as JSON text, None when it gave none."""

    requests: dict[str, Request]
    state: bytes | None

    def retry(self, answers: Mapping[str, bytes]) -> dict[str, bytes]:
        """The parameters that the same request needs when it is sent again."""
        more = {RESPONSES: jsonrpc.encode_object(answers)} if self.requests else {}
        return more if self.state is None else more | {STATE: self.state}


def read_input_required(response: Response) -> InputRequired | None:
    """What a result asks for, None when it is final. Raises `UpstreamProtocolError` for one that cannot be read."""
    if response.result is None or _MARK not in response.result:
        return None
    try:
        found = jsonrpc.members(response.result, "result")
        if found.get("resultType") != _MARK:
            return None
        asked = jsonrpc.members(found.get("inputRequests", b"{}"), "inputRequests")
        if len(asked) > _MOST:
            raise InvalidCall(f"more than {_MOST} questions at once")
        return InputRequired({key: _question(value) for key, value in asked.items()}, found.get(STATE))
    except InvalidCall as error:
        raise UpstreamProtocolError(
            "the MCP server's request for input cannot be read", execution=Execution.UNKNOWN
        ) from error


def _question(raw: bytes) -> Request:
    """A request without an id, as results carry them."""
    found = jsonrpc.members(raw, "an input request")
    method = jsonrpc.as_string(found.get("method"))
    if method is None:
        raise InvalidCall("an input request without a method")
    params = jsonrpc.members(found.get("params", b"{}"), "params")
    meta = jsonrpc.members(params.pop("_meta", b"{}"), "_meta")
    return Request(method, b"", params, meta)


NEEDED = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}


def able(capabilities: bytes, question: Request) -> bool:
    """A client with these capabilities (JSON text) can answer the question."""
    declared = jsonrpc.members(capabilities, "capabilities")
    needed = NEEDED.get(question.method)
    if needed is None or needed not in declared:
        return False
    if needed != "elicitation":
        return True
    modes = jsonrpc.members(declared[needed], needed)
    if question.text("mode") == "url":
        return "url" in modes
    # Without a mode forms are meant, as before there were modes (2025-11-25, client/elicitation).
    return "form" in modes or "url" not in modes


def input_required(questions: Mapping[str, Request], state: str = "") -> bytes:
    """The result that asks `questions`; without a state the same request may be sent anew, with the answers."""
    asked = {key: _written(question) for key, question in questions.items()}
    result = {"resultType": _MARK, "inputRequests": jsonrpc.encode_object(asked)}
    return jsonrpc.encode_object(result | ({STATE: b'"%b"' % state.encode()} if state else {}))


def _written(question: Request) -> bytes:
    params = {key: value for key, value in question.params.items() if key != "elicitationId"}  # 2025-11-25 only
    if question.meta:
        params["_meta"] = jsonrpc.encode_object(question.meta)
    return jsonrpc.encode_object(
        {"method": b'"%b"' % question.method.encode(), "params": jsonrpc.encode_object(params)}
    )


def answers_in(request: Request) -> dict[str, bytes]:
    """The client's answers by their keys. Raises `InvalidParams`."""
    raw = request.params.get(RESPONSES, b"{}")
    if raw[:1] != b"{":
        raise InvalidParams(f'"params.{RESPONSES}" must be an object', violations=((RESPONSES, "must be an object"),))
    found = jsonrpc.members(raw, f"params.{RESPONSES}")
    for key, value in found.items():
        if value[:1] != b"{":
            what = "must be an object"
            raise InvalidParams(f'"{RESPONSES}.{key[:64]}" {what}', violations=((RESPONSES, what),))
    return found


def unknown_state() -> InvalidParams:
    """For a state that is not good (any more). The same words for all: who tampers learns nothing from them."""
    what = "is unknown, used up or expired, or was given for another request"
    return InvalidParams(f'"{STATE}" {what}', violations=((STATE, what),))


def without_answers(request: Request) -> Request:
    """The request as it was before anything was asked."""
    if RESPONSES not in request.params and STATE not in request.params:
        return request
    kept = {key: value for key, value in request.params.items() if key not in (RESPONSES, STATE)}
    return Request(request.method, request.id, kept, request.meta)

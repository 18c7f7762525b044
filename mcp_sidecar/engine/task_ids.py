"""Ids of long-running tasks of several servers: the server's name stands in front of its own id. Knows no server.

Source: the extension `io.modelcontextprotocol/tasks` of 2026-07-28 (SEP-2663). Its ids are opaque to clients, which may
keep them over a restart: so they are read back, and not looked up in a table that would have to be kept as long.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from mcp_sidecar.errors import InvalidCall
from mcp_sidecar.protocol import jsonrpc
from mcp_sidecar.protocol.jsonrpc import Request, Response

METHODS = frozenset(("tasks/get", "tasks/update", "tasks/cancel"))
NEWS = "notifications/tasks"
_BETWEEN = "+"  # no name of a server has it
_FIELD = "taskId"
_CREATED = b'"task"'


def shown(server: str, task_id: str) -> str:
    """What clients of several servers call a task."""
    return f"{server}{_BETWEEN}{task_id}"


def owned(said: str, servers: Collection[str]) -> tuple[str, str] | None:
    """Whose task that is, and its id there; None when it can be nobody's."""
    server, _, task_id = said.partition(_BETWEEN)
    return (server, task_id) if server in servers and task_id else None


def in_notification(server: str, message: bytes) -> bytes:
    """News of a task, with the id that the client knows it by."""
    told = jsonrpc.parse_request(message)
    task_id = told.text(_FIELD)
    if task_id is None:
        return message
    return told.with_params({_FIELD: msgspec.json.encode(shown(server, task_id))}).encode(b"")


def in_response(server: str, request: Request, response: Response) -> Response:
    """A response that may speak of a task, with the id that the client is to know it by."""
    result = response.result
    if result is None or (request.method not in METHODS and _CREATED not in result):
        return response
    try:
        found = jsonrpc.members(result, "result")
    except InvalidCall:
        return response  # what cannot be read is the caller's to judge
    task_id = jsonrpc.as_string(found.get(_FIELD))
    if task_id is None or (request.method not in METHODS and found.get("resultType") != _CREATED):
        return response
    return Response(response.id, jsonrpc.encode_object(found | {_FIELD: msgspec.json.encode(shown(server, task_id))}))

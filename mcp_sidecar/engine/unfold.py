"""A legacy client on a modern server: what the server asks for in a result becomes requests to the client.

The answers go up with the same request sent again, until there is a final result (MCP 2026-07-28, basic/patterns/mrtr).
Knows no wire.
"""

from __future__ import annotations

import asyncio

from mcp_sidecar.call import Call, Client, new_request_id
from mcp_sidecar.engine import downgrade, legs, upgrade
from mcp_sidecar.engine.inputs import InputRequired, able, read_input_required
from mcp_sidecar.errors import Execution, UpstreamLost, UpstreamProtocolError, UpstreamUnavailable
from mcp_sidecar.outbound.link import Link, Sink
from mcp_sidecar.protocol import eras, jsonrpc
from mcp_sidecar.protocol.jsonrpc import Request, Response
from mcp_sidecar.protocol.session import LOG_LEVELS

_MOST_ROUNDS = 10
_FIRST_PAUSE = 0.05  # seconds, for results that only ask to be called again
_LONGEST_PAUSE = 0.25


async def exchange(link: Link, request: Request, call: Call, client: Client, sink: Sink) -> Response:
    """One legacy request over a modern link."""
    if request.method == "logging/setLevel":
        return _set_level(request, client)
    if request.method.startswith("tasks/"):
        return downgrade.unknown_method(request)  # core tasks of 2025-11-25, which 2026-07-28 has in another shape
    first = modern = upgrade.request(request, client)
    for attempt in range(_MOST_ROUNDS + 1):
        try:
            response = await legs.exchange(link, modern, call, sink)
        except UpstreamUnavailable as error:
            if not attempt or error.execution is not Execution.NONE:
                raise
            call.execution = Execution.UNKNOWN  # the rounds before have run, also those that asked the client nothing
            raise UpstreamLost(error.message, execution=Execution.UNKNOWN, metadata=error.metadata) from error
        wanted = read_input_required(response)
        if wanted is None:
            return upgrade.response(request, response)
        if attempt == _MOST_ROUNDS:
            break
        call.execution = Execution.UNKNOWN  # the server has answered, and is not done
        answers = await _ask_all(wanted, client, sink)
        if isinstance(answers, Response):
            call.execution = Execution.DONE
            return answers
        if not wanted.requests:
            await asyncio.sleep(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt))
        modern = first.with_params(wanted.retry(answers))  # of each round no more than what it gave
    raise UpstreamProtocolError(
        f"the MCP server asked for input more than {_MOST_ROUNDS} times", execution=Execution.UNKNOWN
    )


def _in_legacy_shape(question: Request) -> Request:
    """Pages to visit have ids in 2025-11-25; that the page was left is never told, so nobody will need it again."""
    if question.text("mode") != "url" or "elicitationId" in question.params:
        return question
    return question.with_params({"elicitationId": b'"%b"' % new_request_id().encode()})


class _Declined(Exception):
    """The client answered a question with an error."""

    def __init__(self, answer: Response) -> None:
        super().__init__("the client declined")
        self.answer = answer


async def _ask_all(wanted: InputRequired, client: Client, sink: Sink) -> dict[str, bytes] | Response:
    """The client's answers, all asked at once; an error of its own as soon as it will not or cannot answer one."""
    for question in wanted.requests.values():
        if not able(client.capabilities, question):
            words = f"the MCP server asks for {question.method}, which this client does not support"
            return Response(b"", error=jsonrpc.encode_error(eras.INVALID_REQUEST, words))
    try:
        async with asyncio.TaskGroup() as group:
            asked = {
                key: group.create_task(_ask(question, sink), name=f"ask {question.method}")
                for key, question in wanted.requests.items()
            }
    except BaseExceptionGroup as failures:
        first = failures.exceptions[0]
        if isinstance(first, _Declined):
            return Response(b"", error=first.answer.error)
        raise first from failures
    return {key: task.result() for key, task in asked.items()}


async def _ask(question: Request, sink: Sink) -> bytes:
    """The client's answer. Raises `_Declined`, for which nobody waits for the answers to the other questions."""
    answer = await sink.ask(_in_legacy_shape(question))
    if answer.result is None:
        raise _Declined(answer)
    return answer.result


def _set_level(request: Request, client: Client) -> Response:
    """Kept here: each modern request says itself what it wants logged."""
    level = request.text("level")
    if level not in LOG_LEVELS:
        words = f'"level" must be one of {", ".join(LOG_LEVELS)}'
        return Response(request.id, error=jsonrpc.encode_error(eras.INVALID_PARAMS, words))
    client.log_level = level
    return Response(request.id, result=b"{}")

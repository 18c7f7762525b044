"""The table from our words for failures to numbers is complete and says what users were promised."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from mcp_sidecar import errors
from mcp_sidecar.call import Call, Deadline
from mcp_sidecar.errors import Execution, SidecarError, UpstreamRefused
from mcp_sidecar.inbound import status
from mcp_sidecar.outbound import hearing, http, legacy_refusals
from mcp_sidecar.protocol import eras
from mcp_sidecar.protocol.eras import Era
from mcp_sidecar.protocol.jsonrpc import Response
from mcp_sidecar.wire.faults import Disconnected


def kinds(of: type[SidecarError] = SidecarError) -> list[type[SidecarError]]:
    return [of, *(deeper for kind in of.__subclasses__() for deeper in kinds(kind))]


def one(kind: type[SidecarError]) -> SidecarError:
    """Any failure of that kind."""
    if kind is errors.UnsupportedVersion:
        return errors.UnsupportedVersion("x", ("y",))
    if issubclass(kind, UpstreamRefused):
        return kind(-1, "x")
    if kind is http.EraChanged:
        return http.EraChanged("x", Era.MODERN, Response(b"1"))
    return kind("x")


# Contract, "gRPC API": what users were told. The rows are written out: the table must not be tested with itself.
PROMISED = {
    errors.Cancelled: ("CANCELLED", 499),
    errors.DeadlineExceeded: ("DEADLINE_EXCEEDED", 504),
    errors.NotFound: ("NOT_FOUND", 404),
    errors.UnknownUpstream: ("NOT_FOUND", 404),
    errors.UnknownTool: ("NOT_FOUND", 404),
    errors.UnknownConnection: ("NOT_FOUND", 404),
    errors.InvalidCall: ("INVALID_ARGUMENT", 400),
    errors.MalformedMessage: ("INVALID_ARGUMENT", 400),
    errors.InvalidParams: ("INVALID_ARGUMENT", 400),
    errors.HeaderMismatch: ("INVALID_ARGUMENT", 400),
    errors.UnsupportedVersion: ("INVALID_ARGUMENT", 400),
    errors.UnknownMethod: ("UNIMPLEMENTED", 404),
    errors.Unauthenticated: ("UNAUTHENTICATED", 401),
    errors.Denied: ("PERMISSION_DENIED", 403),
    errors.Exhausted: ("RESOURCE_EXHAUSTED", 503),
    errors.PoolExhausted: ("RESOURCE_EXHAUSTED", 503),
    errors.Overloaded: ("RESOURCE_EXHAUSTED", 503),
    errors.SendQueueFull: ("RESOURCE_EXHAUSTED", 503),
    errors.TooLarge: ("RESOURCE_EXHAUSTED", 413),
    errors.Unavailable: ("UNAVAILABLE", 503),
    errors.Draining: ("UNAVAILABLE", 503),
    errors.UpstreamUnavailable: ("UNAVAILABLE", 502),
    errors.UpstreamLost: ("UNAVAILABLE", 502),
    http.EraChanged: ("UNAVAILABLE", 502),
    legacy_refusals.SessionLost: ("UNAVAILABLE", 502),
    hearing.NoStream: ("UNAVAILABLE", 502),
    errors.UpstreamProtocolError: ("INTERNAL", 502),
    errors.UpstreamRefused: ("INTERNAL", 502),
    errors.Bug: ("INTERNAL", 500),
    SidecarError: ("INTERNAL", 500),
}


def ours() -> list[type[SidecarError]]:
    return [kind for kind in kinds() if kind.__module__.startswith("mcp_sidecar.") and ".client" not in kind.__module__]


def test_every_failure_we_have_a_word_for_is_promised_a_number():
    unpromised = {kind.__name__ for kind in ours() if not _promise(kind)}
    assert unpromised == set()
    assert {kind.__name__ for kind in PROMISED} <= {kind.__name__ for kind in ours()}


def _promise(kind: type[SidecarError]) -> tuple[str, int] | None:
    # A refusal of the HTTP around a message brings its own status.
    return PROMISED.get(kind) or next((PROMISED[above] for above in kind.__mro__[1:-2] if above in PROMISED), None)


@pytest.mark.parametrize("kind", PROMISED, ids=lambda kind: kind.__name__)
def test_a_failure_has_the_numbers_that_were_promised(kind: type[SidecarError]):
    row = status.status_of(one(kind))
    assert (row.grpc, row.http) == PROMISED[kind]
    assert row.grpc in grpc.StatusCode.__members__


@pytest.mark.parametrize("kind", [errors.Denied, errors.NotFound, errors.TooLarge, errors.InvalidCall])
def test_what_is_wrong_around_a_message_is_called_what_other_failures_of_that_status_are(kind: type[SidecarError]):
    name, number = PROMISED[kind]
    row = status.status_of(errors.HttpRefused(number, "x"))
    assert (row.grpc, row.http) == (name, number)


def test_json_rpc_codes_are_those_of_the_specification_or_outside_of_what_it_reserves():
    meant = {
        errors.MalformedMessage: eras.PARSE_ERROR,
        errors.InvalidCall: eras.INVALID_REQUEST,
        errors.InvalidParams: eras.INVALID_PARAMS,
        errors.NotFound: eras.INVALID_PARAMS,
        errors.UnknownTool: eras.INVALID_PARAMS,
        errors.UnknownMethod: eras.METHOD_NOT_FOUND,
        errors.HeaderMismatch: eras.HEADER_MISMATCH,
        errors.UnsupportedVersion: eras.UNSUPPORTED_VERSION,
        errors.Bug: eras.INTERNAL_ERROR,
        errors.UpstreamProtocolError: eras.INTERNAL_ERROR,
    }
    assert {kind: status.status_of(one(kind)).jsonrpc for kind in meant} == meant
    for kind in (errors.Overloaded, errors.Draining, errors.UpstreamLost, errors.DeadlineExceeded, errors.Denied):
        assert not -32768 <= status.status_of(one(kind)).jsonrpc <= -32000


def test_reasons_are_unique_words_for_programs():
    reasons = [kind.reason for kind in ours() if "reason" in vars(kind)]
    assert len(set(reasons)) == len(reasons)
    assert all(reason == reason.upper() and reason.replace("_", "").isalpha() for reason in reasons)


@pytest.mark.covers("B-01")
@pytest.mark.parametrize(
    ("code", "grpc_code"),
    [
        (-32600, "INVALID_ARGUMENT"),
        (-32602, "INVALID_ARGUMENT"),
        (-32020, "INVALID_ARGUMENT"),
        (-32601, "UNIMPLEMENTED"),
        (-32002, "NOT_FOUND"),
        (-32021, "FAILED_PRECONDITION"),
        (-32022, "FAILED_PRECONDITION"),
        (-32603, "INTERNAL"),
        (-32700, "INTERNAL"),
        (42, "INTERNAL"),
    ],
)
def test_an_error_of_a_server_keeps_its_meaning_as_a_status(code: int, grpc_code: str):
    refusal = UpstreamRefused(code, "no")
    assert status.status_of(refusal).grpc == grpc_code
    assert refusal.execution is Execution.DONE
    assert refusal.metadata == {"jsonrpc_code": str(code)}


def call(**fields: object) -> Call:
    return Call("/x/Y", "rid", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), Disconnected("gone")])
def test_whoever_goes_away_has_cancelled_unless_the_deadline_did_it(error: BaseException):
    gone = status.named(error, call(execution=Execution.UNKNOWN, deadline=Deadline.after(60)))
    assert type(gone) is errors.Cancelled and gone.execution is Execution.UNKNOWN
    assert type(status.named(error, call())) is errors.Cancelled
    late = status.named(error, call(execution=Execution.UNKNOWN, deadline=Deadline.after(-1)))
    assert type(late) is errors.DeadlineExceeded and late.execution is Execution.UNKNOWN


@pytest.mark.covers("B-32")
@pytest.mark.parametrize(
    "error", [ValueError("secret"), KeyError("secret"), TimeoutError("secret"), SystemExit("secret")]
)
def test_what_has_no_name_is_a_bug_of_which_only_the_request_id_is_told(error: BaseException):
    bug = status.named(error, call(execution=Execution.UNKNOWN))
    assert type(bug) is errors.Bug and bug.execution is Execution.UNKNOWN
    assert bug.message == "internal error; request id rid"


def test_what_has_a_name_keeps_it():
    failure = errors.Denied("no")
    assert status.named(failure, call()) is failure

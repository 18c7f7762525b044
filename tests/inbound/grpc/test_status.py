"""Tests of `mcp_sidecar.inbound.grpc.status`: what a status says, and how it arrives at a client."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.call import Call
from mcp_sidecar.client.statuses import from_status
from mcp_sidecar.errors import (
    Denied,
    Execution,
    InvalidParams,
    Overloaded,
    SidecarError,
    UnsupportedVersion,
    UpstreamRefused,
)
from mcp_sidecar.inbound.grpc.metadata import RpcCall
from mcp_sidecar.inbound.grpc.status import MAX_DETAILS, details, shorten
from tests.inbound.grpc.asking import details as parsed
from tests.inbound.grpc.asking import failed, trailers, unpacked
from tests.inbound.grpc.kinds import KINDS, STREAMS_OUT, served

CALL = Call(rpc="/test.Kinds/UnaryUnary", request_id="r-1")
TEXT = st.text(st.characters(codec="utf-8"), max_size=400)


def _details(failure: SidecarError) -> dict[type, Any]:
    return unpacked(Status.FromString(details(failure, CALL, "INTERNAL", shorten(failure.message, 1024))))


@pytest.mark.covers("B-34")
@given(
    message=st.text(st.characters(codec="utf-8"), max_size=3000),
    violations=st.lists(st.tuples(TEXT, TEXT), max_size=12),
    metadata=st.dictionaries(st.sampled_from(["server", "tool", "a", "b", "c", "d", "e", "f", "g", "h"]), TEXT),
    retry_after=st.none() | st.floats(0, 4000),
)
def test_details_never_take_more_than_4_kib_and_keep_what_applies(
    message: str, violations: list[tuple[str, str]], metadata: dict[str, str], retry_after: float | None
):
    failure = SidecarError(message, violations=tuple(violations), metadata=metadata, retry_after=retry_after)
    assert len(details(failure, CALL, "INTERNAL", shorten(message, 1024))) <= MAX_DETAILS == 4096
    found = _details(failure)
    info = found[ErrorInfo]
    assert (info.reason, info.domain, info.metadata["request_id"]) == ("SIDECAR_ERROR", "mcp-sidecar", "r-1")
    assert (RetryInfo in found) is (retry_after is not None)
    assert (BadRequest in found) is bool(violations)


@given(text=st.text(), limit=st.integers(4, 60))
def test_shortened_text_fits_and_begins_like_the_whole(text: str, limit: int):
    short = shorten(text, limit)
    assert len(short.encode("utf-8", "replace")) <= limit
    assert short == text or text.startswith(short[:-1])


@pytest.mark.covers("B-34")
@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_of_call_delivers_its_details(kind: str):
    failure = Overloaded("too much", retry_after=1.5, metadata={"server": "weather"}, violations=(("a.b", "is odd"),))

    async def act(_: RpcCall) -> None:
        raise failure

    async with served(act) as here:
        call = here.start(kind)
        if kind in STREAMS_OUT:
            await call.read()
            error = await failed(call.read())
        else:
            error = await failed(call)
        found = parsed(error)
        assert found[ErrorInfo].reason == "OVERLOADED"
        assert found[ErrorInfo].metadata["server"] == "weather"
        assert found[ErrorInfo].metadata["request_id"] == trailers(error)["x-request-id"]
        assert found[RetryInfo].retry_delay.ToMilliseconds() == 1500
        assert [(one.field, one.description) for one in found[BadRequest].field_violations] == [("a.b", "is odd")]


@pytest.mark.covers("B-34")
@pytest.mark.parametrize("character", ["x", "ü", "漢", "😀", "\n", "%", "\x00", "\x7f"])
async def test_the_longest_of_errors_in_any_script_still_arrives_whole(character: str):
    long = character * 20_000
    violations = tuple((long, long) for _ in range(20))

    async def act(_: RpcCall) -> None:
        facts = {f"key-{number}": long for number in range(20)}
        raise InvalidParams(long, violations=violations, metadata=facts, retry_after=3600.0)

    async with served(act) as here:
        for _ in range(10):  # gRPC drops what is over its soft limit by chance
            error = await failed(here.start("UnaryUnary"))
            assert error.code().name == "INVALID_ARGUMENT"
            assert set(parsed(error)) == {ErrorInfo, RetryInfo, BadRequest}


@pytest.mark.covers("B-22")
async def test_a_status_says_whether_the_call_may_have_run_and_the_servers_own_code():
    failures: list[SidecarError] = [
        Denied("no", execution=Execution.UNKNOWN),
        UpstreamRefused(-32042, "not today"),
    ]

    async def act(_: RpcCall) -> None:
        raise failures[0]

    async with served(act) as here:
        denied = await failed(here.start("UnaryUnary"))
        assert denied.code().name == "PERMISSION_DENIED"
        assert trailers(denied)["mcp-sidecar-execution"] == "unknown"
        assert "mcp-error-code" not in trailers(denied)
        del failures[0]
        refused = await failed(here.start("UnaryUnary"))
        assert (refused.code().name, refused.details()) == ("INTERNAL", "not today")
        assert trailers(refused)["mcp-sidecar-execution"] == "done"
        assert trailers(refused)["mcp-error-code"] == "-32042"
        assert parsed(refused)[ErrorInfo].metadata["jsonrpc_code"] == "-32042"


def test_who_asks_for_an_unknown_revision_learns_which_ones_are_spoken():
    refused = UnsupportedVersion("2099-01-01", ("2026-07-28", "2027-01-01"))
    packed = details(refused, CALL, "INVALID_ARGUMENT", refused.message)
    heard = from_status(
        grpc.StatusCode.INVALID_ARGUMENT, refused.message, (("grpc-status-details-bin", packed),), "r-1"
    )
    assert isinstance(heard, UnsupportedVersion)
    assert (heard.requested, heard.supported, heard.message) == (refused.requested, refused.supported, refused.message)

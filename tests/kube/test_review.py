"""Tokens of service accounts, reviewed by an API server over real connections."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest

from mcp_sidecar.errors import Execution, Unauthenticated, Unavailable
from mcp_sidecar.inbound.auth.service_accounts import ServiceAccounts, judge
from mcp_sidecar.kube.access import Access
from mcp_sidecar.kube.review import TokenReviews
from mcp_sidecar.settings import AuthSettings, DiscoverySettings
from mcp_sidecar.v1 import engine_pb2
from tests.inbound.waiting import eventually
from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar
from tests.support.token_review import AUDIENCE, Fault, TokenReviewer, account, token_reviewer, wrong_audience
from tests.wire.loopback import Clock

CANARY = "c4n4ryT0ken"
ECHO = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hi"}}}'


def jwt(**claims: object) -> str:
    """Something in the form of a token; nobody here looks at its signature."""
    return ".".join(
        base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in ("{}", json.dumps(claims), CANARY)
    )


@asynccontextmanager
async def guarded(
    reviewer: TokenReviewer, folder: Path, clock: Clock | None = None, seconds: float = 3.0
) -> AsyncIterator[tuple[ServiceAccounts, list[str]]]:
    """Who is let in on the word of `reviewer`, and what the log is told."""
    told: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        reviews = TokenReviews(Access(reviewer.kubeconfig(folder)), told.append, seconds=seconds)
        yield ServiceAccounts("", reviews, tasks, clock or time.monotonic), told


@pytest.mark.covers("B-280")
async def test_a_service_account_is_known_with_its_pod(tmp_path: Path):
    async with token_reviewer() as reviewer, guarded(reviewer, tmp_path) as (accounts, told):
        principal = await accounts.authenticate("Bearer abc")
        assert principal.subject == "system:serviceaccount:agents:agent"
        assert dict(principal.claims) == {
            "namespace": "agents",
            "serviceaccount": "agent",
            "pod-name": "agent-0",
            "pod-uid": "u-1",
            "node-name": "node-1",
            "credential-id": "JTI=7",
            "pod": "agents/agent-0",
        }
        assert reviewer.asked == [{"token": "abc", "audiences": [AUDIENCE]}]
        assert told == []


@pytest.mark.covers("B-280")
@pytest.mark.parametrize(
    "status",
    [
        {},
        {"authenticated": False},
        {"authenticated": "true", "audiences": [AUDIENCE]},
        {**account(), "audiences": ["https://kubernetes.default.svc"]},
        {key: value for key, value in account().items() if key != "audiences"},
        {**account(), "audiences": AUDIENCE},
        {**account(), "user": {"username": "kubernetes-admin"}},
        {**account(), "user": {"username": "system:serviceaccount:agents"}},
        {**account(), "user": {"username": "system:serviceaccount::x"}},
        {**account(), "user": None},
        wrong_audience("t"),
    ],
)
def test_nobody_else_is_let_in(status: dict[str, object]):
    assert isinstance(judge(status, AUDIENCE), str)


@pytest.mark.covers("B-280")
async def test_a_token_for_another_audience_is_refused_with_what_to_do(tmp_path: Path):
    async with token_reviewer() as reviewer, guarded(reviewer, tmp_path) as (accounts, _):
        reviewer.judge = wrong_audience
        with pytest.raises(Unauthenticated, match=r"audience 'mcp-sidecar\.dev'.*projected") as caught:
            await accounts.authenticate(f"Bearer {CANARY}")
        assert CANARY not in str(caught.value)


@pytest.mark.covers("B-281")
async def test_a_review_is_good_for_a_minute_and_a_refusal_for_five_seconds(tmp_path: Path):
    clock = Clock()
    async with token_reviewer() as reviewer, guarded(reviewer, tmp_path, clock) as (accounts, _):
        reviewer.judge = lambda token: account() if token == "good" else {}

        async def let_in(token: str) -> bool:
            try:
                await accounts.authenticate(f"Bearer {token}")
            except Unauthenticated:
                return False
            return True

        assert [await let_in(token) for token in ("good", "bad")] == [True, False]
        clock.now += 4.9
        assert [await let_in(token) for token in ("good", "bad")] == [True, False]
        assert len(reviewer.asked) == 2
        clock.now += 0.2
        assert [await let_in(token) for token in ("good", "bad")] == [True, False]
        assert len(reviewer.asked) == 3
        clock.now += 55.0
        reviewer.judge = lambda _: {}
        assert await let_in("good") is False


@pytest.mark.covers("B-281")
async def test_a_review_is_not_good_for_longer_than_its_token(tmp_path: Path):
    clock = Clock()
    async with token_reviewer() as reviewer, guarded(reviewer, tmp_path, clock) as (accounts, _):
        token = jwt(exp=time.time() + 10)
        await accounts.authenticate(f"Bearer {token}")
        clock.now += 10.1
        await accounts.authenticate(f"Bearer {token}")
        assert len(reviewer.asked) == 2


@pytest.mark.covers("B-281")
async def test_callers_with_the_same_token_share_one_review_and_one_who_leaves_ends_nobody_elses(tmp_path: Path):
    async with token_reviewer() as reviewer, guarded(reviewer, tmp_path) as (accounts, _):
        reviewer.gate = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(accounts.authenticate("Bearer abc")) for _ in range(20)]
            await eventually(lambda: reviewer.asked)
            running[0].cancel()
            reviewer.gate.set()
        assert len(reviewer.asked) == 1
        assert {task.result().subject for task in running[1:]} == {"system:serviceaccount:agents:agent"}


async def test_what_is_remembered_is_bounded(tmp_path: Path):
    async def review(token: str, _audience: str) -> dict[str, object]:
        return account(token)

    async with asyncio.TaskGroup() as tasks:
        accounts = ServiceAccounts("", review, tasks)
        for number in range(1100):
            await accounts.authenticate(f"Bearer t{number}")
        assert len(accounts._verdicts) == 1024


@pytest.mark.covers("B-282")
@pytest.mark.parametrize("fault", [*Fault, 401, 403, 404, 429, 500, 503])
async def test_while_no_review_can_be_had_nobody_is_let_in_and_the_log_says_why_once(
    fault: Fault | int, tmp_path: Path
):
    async with token_reviewer() as reviewer, guarded(reviewer, tmp_path, seconds=0.5) as (accounts, told):
        reviewer.fault = fault
        for _ in range(2):
            with pytest.raises(Unavailable) as caught:
                await accounts.authenticate(f"Bearer {CANARY}")
            assert (caught.value.execution, caught.value.retry_after) == (Execution.NONE, 1.0)
            assert CANARY not in str(caught.value)
        (line,) = told
        assert CANARY not in line
        assert ("system:auth-delegator" in line) == (fault == 403)
        reviewer.fault = None
        assert (await accounts.authenticate(f"Bearer {CANARY}")).subject


@pytest.mark.covers("B-282")
async def test_without_an_api_server_nobody_is_let_in(tmp_path: Path):
    async with guarded(TokenReviewer(), tmp_path) as (accounts, told):
        with pytest.raises(Unavailable):
            await accounts.authenticate("Bearer abc")
        assert told == ["tokens cannot be reviewed: the API server cannot be reached; nobody new is let in"]


@pytest.mark.covers("B-280", "B-282", "B-283")
async def test_a_sidecar_in_mode_kubernetes_logs_accounts_and_pods_and_never_a_token(tmp_path: Path):
    async with token_reviewer() as reviewer, FakeServer() as up:
        cluster = DiscoverySettings(kubeconfig=reviewer.kubeconfig(tmp_path))
        async with Sidecar({"up": up.url}, auth=AuthSettings(mode="kubernetes"), discovery=cluster) as sidecar:
            told: list[str] = []

            async def call(token: str) -> grpc.StatusCode:
                metadata = (("authorization", f"Bearer {token}"),)
                try:
                    await sidecar.engine.Call(engine_pb2.CallRequest(message_json=ECHO), timeout=5, metadata=metadata)
                except grpc.aio.AioRpcError as error:
                    told.append(repr(error))
                    return error.code()
                return grpc.StatusCode.OK

            assert await call(CANARY + "-good") is grpc.StatusCode.OK
            await eventually(lambda: sidecar.calls(code="OK", method="tools/call"))
            (line,) = sidecar.calls(code="OK", method="tools/call")
            assert (line["subject"], line["pod"]) == ("system:serviceaccount:agents:agent", "agents/agent-0")
            reviewer.judge = wrong_audience
            assert await call(CANARY + "-wrong") is grpc.StatusCode.UNAUTHENTICATED
            reviewer.fault = 500
            assert await call(CANARY + "-late") is grpc.StatusCode.UNAVAILABLE
            assert await call(CANARY + "-good") is grpc.StatusCode.OK  # reviewed before
            metrics = (await raw_http.request("GET", f"http://{sidecar.address('metrics')}/metrics")).body
            assert CANARY.encode() not in metrics
        assert len(up.executions) == 2
        assert CANARY not in repr(sidecar.lines) + repr(told)

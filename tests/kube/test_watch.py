"""A watch against servers that fail in every way: what is known stays, and the server is left in peace."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mcp_sidecar.kube.access import Access
from mcp_sidecar.kube.objects import Slice, read_slice
from mcp_sidecar.kube.replica import Replica
from mcp_sidecar.kube.watch import Collection, Watch
from mcp_sidecar.logs import Log
from tests.kube.clock import BOUND, FakeTime
from tests.kube.objects import endpoint, piece
from tests.support.kube_api import Fault, KubeApi, Refusal, kube_api

SLICES = "endpointslices"
HERE = Collection(SLICES, ("/apis/discovery.k8s.io/v1",))


class Followed:
    """A running watch with what it knows and says."""

    def __init__(self, api: KubeApi, folder: Path, clock: FakeTime) -> None:
        self.log: list[bytes] = []
        self.replica: Replica[Slice] = Replica(read_slice)
        self._changed = asyncio.Event()
        access = Access(api.kubeconfig(folder, token=api.token))
        self.watch = Watch(HERE, self.replica, access, self._changed.set, Log(self.log.append), clock.time)

    def warnings(self) -> list[bytes]:
        return [line for line in self.log if b'"warning"' in line]

    async def knows(self, *names: str) -> None:
        """Wait until these objects are known, and no others."""
        async with asyncio.timeout(BOUND):
            while not self.replica.synced or set(self.replica.known) != set(names):
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def following(api: KubeApi, folder: Path, clock: FakeTime) -> AsyncIterator[Followed]:
    followed = Followed(api, folder, clock)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(followed.watch.run(), name="watch")
        try:
            yield followed
        finally:
            task.cancel()


async def asked(api: KubeApi, times: int) -> None:
    """Wait for so many requests in all."""
    async with asyncio.timeout(BOUND):
        while len(api.asked) < times:
            api.heard.clear()
            await api.heard.wait()


FAILURES = [
    *(fault for fault in Fault if fault not in {Fault.STALL, Fault.STREAM_STALLS}),
    Refusal(401, "Unauthorized"),
    Refusal(403, "endpointslices is forbidden"),
    Refusal(429, "too many requests"),
    Refusal(500, "etcdserver: leader changed"),
    Refusal(400, "unable to parse requirement"),
    Refusal(410, "too old"),
    Refusal(404, "not found"),
    Refusal(200, "not a watch"),
]


@pytest.mark.covers("B-204")
@pytest.mark.parametrize("streaming_lists", [True, False], ids=["stream", "list"])
@pytest.mark.parametrize("failure", FAILURES, ids=str)
async def test_no_failing_server_is_asked_more_than_once_a_second(
    tmp_path: Path, failure: Fault | Refusal, streaming_lists: bool
):
    clock = FakeTime(horizon=40.0, jitter=0.0)  # the least that may ever be waited
    async with kube_api(streaming_lists=streaming_lists) as api:
        api.put(SLICES, piece())
        api.fault = failure
        async with following(api, tmp_path, clock):
            async with asyncio.timeout(60):
                await clock.over.wait()
            assert 10 < len(api.asked) <= 40 + 3  # a beginning may take three: stream, list, watch


@pytest.mark.covers("B-204")
async def test_the_pauses_grow_to_half_a_minute(tmp_path: Path):
    clock = FakeTime(horizon=300.0, jitter=1.0)
    async with kube_api() as api:
        api.fault = Refusal(500)
        async with following(api, tmp_path, clock):
            async with asyncio.timeout(BOUND):
                await clock.over.wait()
    assert clock.slept[:6] == [pytest.approx(seconds) for seconds in (1.8, 1.8, 3.2, 6.4, 12.8, 25.6)]
    assert set(clock.slept[6:]) == {30.0}


@pytest.mark.covers("B-204")
async def test_a_server_that_names_a_time_is_not_asked_before(tmp_path: Path):
    clock = FakeTime(horizon=300.0)
    async with kube_api() as api:
        api.fault = Refusal(429, "slow down", retry_after="17")
        async with following(api, tmp_path, clock):
            async with asyncio.timeout(BOUND):
                await clock.over.wait()
    assert min(clock.slept) == 17.0


@pytest.mark.covers("B-203")
@pytest.mark.parametrize(
    "failure",
    [*(fault for fault in Fault if fault not in {Fault.STALL, Fault.STREAM_STALLS}), Refusal(401), Refusal(500)],
    ids=str,
)
@pytest.mark.parametrize("streaming_lists", [True, False], ids=["stream", "list"])
async def test_what_is_known_stays_while_the_server_fails_and_changes_are_seen_afterwards(
    tmp_path: Path, failure: Fault | Refusal, streaming_lists: bool
):
    async with kube_api(streaming_lists=streaming_lists) as api:
        api.put(SLICES, piece("one"))
        async with following(api, tmp_path, FakeTime()) as followed:
            await followed.knows("one-x1")
            api.fault = failure
            before = len(api.asked)
            api.end_streams()
            await asked(api, before + 3)
            assert set(followed.replica.known) == {"one-x1"}
            api.put(SLICES, piece("two"))
            api.delete(SLICES, "one-x1")
            api.fault = None
            await followed.knows("two-x1")


@pytest.mark.covers("B-203")
async def test_after_a_gap_too_long_for_the_server_everything_is_read_again(tmp_path: Path):
    async with kube_api() as api:
        api.put(SLICES, piece("one"))
        async with following(api, tmp_path, FakeTime()) as followed:
            await followed.knows("one-x1")
            api.fault = Fault.CLOSE
            api.end_streams()
            await asked(api, 3)
            api.delete(SLICES, "one-x1")
            api.put(SLICES, piece("two"))
            api.forget()
            api.fault = None
            await followed.knows("two-x1")
    assert [one.kind for one in api.asked[-2:]] == ["watch", "stream"]


@pytest.mark.parametrize("status", [400, 422])
async def test_a_server_without_streaming_lists_is_asked_for_one_only_once(tmp_path: Path, status: int):
    async with kube_api(streaming_lists=False, refuses_with=status) as api:
        api.put(SLICES, piece("one"))
        async with following(api, tmp_path, FakeTime()) as followed:
            await followed.knows("one-x1")
            await asked(api, 3)
            api.fault = Fault.GONE_EVENT
            api.end_streams()
            await asked(api, 4)
            api.put(SLICES, piece("two"))
            api.fault = None
            await followed.knows("one-x1", "two-x1")
    assert [one.kind for one in api.asked][:5] == ["stream", "list", "watch", "watch", "list"]
    assert api.asked[1].query["resourceVersion"] == "0"  # the server's cache will do
    assert "resourceVersion" not in api.asked[4].query  # it would not do after a 410


async def test_a_server_that_takes_a_streaming_list_for_a_watch_is_asked_for_a_list(tmp_path: Path):
    clock = FakeTime()
    async with kube_api() as api:
        api.put(SLICES, piece("one"))
        api.fault = Fault.STREAM_STALLS
        async with following(api, tmp_path, clock) as followed:
            await clock.limited(10.0)
            api.fault = None
            clock.advance(11.0)
            await followed.knows("one-x1")
    assert [one.kind for one in api.asked][:2] == ["stream", "list"]


@pytest.mark.covers("B-205")
async def test_a_watch_that_says_nothing_for_80_seconds_is_dead(tmp_path: Path):
    clock = FakeTime()
    async with kube_api() as api:
        api.put(SLICES, piece("one"))
        async with following(api, tmp_path, clock) as followed:
            await followed.knows("one-x1")
            clock.advance(79.0)
            api.bookmark()
            await clock.limited(80.0, times=2)
            assert len(api.asked) == 1
            clock.advance(81.0)
            await asked(api, 2)
            assert set(followed.replica.known) == {"one-x1"}


@pytest.mark.covers("B-205")
async def test_a_server_that_never_answers_is_left_after_15_seconds(tmp_path: Path):
    clock = FakeTime()
    async with kube_api() as api:
        api.put(SLICES, piece("one"))
        api.fault = Fault.STALL
        async with following(api, tmp_path, clock) as followed:
            await asked(api, 1)
            api.fault = None
            clock.advance(16.0)
            await followed.knows("one-x1")


async def test_watches_are_asked_to_end_at_different_times(tmp_path: Path):
    async with kube_api() as api, following(api, tmp_path, FakeTime(jitter=0.25)) as followed:
        await followed.knows()
    assert api.asked[0].query["timeoutSeconds"] == "375"


async def test_what_ends_in_health_goes_on_soon_and_from_where_it_was(tmp_path: Path):
    clock = FakeTime(jitter=1.0)
    async with kube_api() as api:
        item = api.put(SLICES, piece("one"))
        async with following(api, tmp_path, clock) as followed:
            await followed.knows("one-x1")
            clock.advance(61.0)
            api.put(SLICES, piece("two"))
            await followed.knows("one-x1", "two-x1")
            api.end_streams()
            await asked(api, 2)
    assert clock.slept[0] == 0.8
    assert int(api.asked[1].query["resourceVersion"]) == int(item["metadata"]["resourceVersion"]) + 1


@pytest.mark.covers("B-206")
async def test_a_missing_permission_is_named_once_with_what_to_do_and_noticed_when_granted(tmp_path: Path):
    clock = FakeTime()
    async with kube_api() as api:
        api.put(SLICES, piece("one"))
        api.fault = Refusal(403, "endpointslices.discovery.k8s.io is forbidden: cannot watch")
        async with following(api, tmp_path, clock) as followed:
            await asked(api, 5)
            (warning,) = followed.warnings()
            assert b"cannot watch" in warning
            assert b"Role" in warning and b"endpointslices" in warning and b"namespace tools" in warning
            api.fault = None
            await followed.knows("one-x1")
            assert b"recovered" in followed.log[-1]


@pytest.mark.covers("B-207")
async def test_a_rotated_token_is_used_from_the_next_request_on(tmp_path: Path):
    async with kube_api() as api:
        api.token = "first"
        api.put(SLICES, piece("one"))
        async with following(api, tmp_path, FakeTime()) as followed:
            await followed.knows("one-x1")
            api.token = "second"
            api.end_streams()
            await asked(api, 3)  # the old one is refused
            api.kubeconfig(tmp_path, token="second")
            api.put(SLICES, piece("two"))
            await followed.knows("one-x1", "two-x1")


async def test_duplicates_and_stale_events_change_nothing(tmp_path: Path):
    async with kube_api() as api:
        old = api.put(SLICES, piece("one", [endpoint("10.0.0.1")]))
        async with following(api, tmp_path, FakeTime()) as followed:
            await followed.knows("one-x1")
            new = api.put(SLICES, piece("one", [endpoint("10.0.0.2")]))
            for item in (new, old, new):
                api.say(line("MODIFIED", item))
            api.delete(SLICES, "one-x1")
            api.say(line("MODIFIED", old))
            api.put(SLICES, piece("last"))
            await followed.knows("last-x1")


def line(kind: str, item: object) -> bytes:
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


async def test_an_object_that_cannot_be_read_costs_nobody_else(tmp_path: Path):
    async with kube_api() as api:
        api.put(SLICES, piece("one"))
        async with following(api, tmp_path, FakeTime()) as followed:
            await followed.knows("one-x1")
            api.put(SLICES, piece("odd") | {"endpoints": "none"})
            api.put(SLICES, piece("two"))
            await followed.knows("one-x1", "two-x1")


async def test_cancelling_closes_the_connection(tmp_path: Path):
    async with kube_api() as api:
        async with following(api, tmp_path, FakeTime()) as followed:
            await followed.knows()
            assert api.streams == 1
        async with asyncio.timeout(BOUND):
            await api.idle.wait()

"""From objects of the API server to published servers, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from mcp_sidecar.discovery.source import Address, Found
from mcp_sidecar.kube.discovery import KubeSource
from mcp_sidecar.logs import Log
from mcp_sidecar.settings import DiscoverySettings
from tests.kube.clock import BOUND, FakeTime
from tests.kube.objects import OURS, endpoint, mcp_server, piece, port, service
from tests.support.kube_api import KubeApi, Refusal, kube_api

SLICES = "endpointslices"


class Publications:
    """What a source has published, and a way to wait for it."""

    def __init__(self) -> None:
        self.all: list[tuple[Found, ...]] = []
        self.log: list[bytes] = []
        self._news = asyncio.Event()

    def __call__(self, found: tuple[Found, ...]) -> None:
        self.all.append(found)
        self._news.set()

    async def when(self, is_it: Callable[[dict[str, Found]], bool]) -> dict[str, Found]:
        """The newest publication, once it is what it should be."""
        async with asyncio.timeout(BOUND):
            while True:
                newest = {one.name: one for one in self.all[-1]} if self.all else None
                if newest is not None and is_it(newest):
                    return newest
                self._news.clear()
                await self._news.wait()


@contextlib.asynccontextmanager
async def watching(api: KubeApi, folder: Path, clock: FakeTime | None = None, **keys) -> AsyncIterator[Publications]:
    """A source in mode namespace, running."""
    published = Publications()
    settings = DiscoverySettings(mode="namespace", kubeconfig=api.kubeconfig(folder, token=api.token), **keys)
    source = KubeSource(settings, Log(published.log.append), time=(clock or FakeTime()).time)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(source.run(published), name="source")
        try:
            yield published
        finally:
            task.cancel()


def hosts(found: Found) -> set[str]:
    return {address.host for address in found.ready}


@pytest.mark.covers("B-200")
@pytest.mark.parametrize("streaming_lists", [True, False])
async def test_servers_are_found_and_followed(tmp_path: Path, streaming_lists: bool):
    async with kube_api(streaming_lists=streaming_lists) as api:
        api.put(SLICES, piece("weather", [endpoint("10.0.0.1"), endpoint("10.0.0.2")]))
        api.put(SLICES, piece("other", [endpoint("10.0.0.9")], labels={}))
        async with watching(api, tmp_path) as published:
            found = await published.when(bool)
            assert found == {
                "weather": Found(
                    name="weather",
                    transport="http",
                    secure=False,
                    path="/mcp",
                    authority="weather.tools.svc:8080",
                    ready=(Address("10.0.0.1", 8080), Address("10.0.0.2", 8080)),
                    origin="Service tools/weather",
                )
            }
            api.put(SLICES, piece("weather", [endpoint("10.0.0.2"), endpoint("10.0.0.3")]))
            await published.when(lambda found: hosts(found["weather"]) == {"10.0.0.2", "10.0.0.3"})
            api.delete(SLICES, "weather-x1")
            await published.when(lambda found: not found)


@pytest.mark.covers("B-201")
async def test_who_leaves_gets_no_new_sessions_and_goes_when_it_is_gone(tmp_path: Path):
    async with kube_api() as api:
        api.put(SLICES, piece("weather", [endpoint("10.0.0.1"), endpoint("10.0.0.2")]))
        async with watching(api, tmp_path) as published:
            await published.when(bool)
            leaving = endpoint("10.0.0.2", ready=False, serving=True, terminating=True)
            api.put(SLICES, piece("weather", [endpoint("10.0.0.1"), leaving]))
            found = await published.when(lambda found: bool(found["weather"].leaving))
            assert hosts(found["weather"]) == {"10.0.0.1"}
            api.put(SLICES, piece("weather", [endpoint("10.0.0.1")]))
            await published.when(lambda found: not found["weather"].leaving)


async def test_a_server_scaled_to_nothing_stays_known(tmp_path: Path):
    async with kube_api() as api:
        api.put(SLICES, piece("weather", [endpoint("10.0.0.1")], ports=[port(8080, "mcp"), port(9090, "metrics")]))
        api.put(SLICES, piece("never", ports=[]))
        async with watching(api, tmp_path) as published:
            before = await published.when(bool)
            assert before["never"].ready == ()
            api.put(SLICES, piece("weather", ports=[]))
            found = await published.when(lambda found: not found["weather"].ready)
            assert found["weather"].authority == before["weather"].authority
            api.put(SLICES, piece("never", [endpoint("10.0.0.5")]))
            await published.when(lambda found: hosts(found["never"]) == {"10.0.0.5"})


@pytest.mark.covers("B-208")
async def test_annotations_are_read_only_when_asked_for(tmp_path: Path):
    async with kube_api() as api:
        api.put(SLICES, piece("weather", [endpoint("10.0.0.1")], ports=[port(9000, "web")]))
        annotations = {"mcp-sidecar.dev/path": "/v1/mcp", "mcp-sidecar.dev/name": "rain"}
        api.put("services", service("weather", annotations, ports=[port(80, "web")]))
        async with watching(api, tmp_path) as published:
            assert (await published.when(bool))["weather"].path == "/mcp"
        assert {one.path.rpartition("/")[2] for one in api.asked} == {SLICES}
        async with watching(api, tmp_path, annotations=True) as published:
            found = (await published.when(bool))["rain"]
            assert (found.path, found.authority, found.ready) == (
                "/v1/mcp",
                "weather.tools.svc:80",
                (Address("10.0.0.1", 9000),),
            )
            api.put("services", service("weather", {}))
            assert (await published.when(lambda found: "weather" in found))["weather"].path == "/mcp"


@pytest.mark.covers("B-206", "B-208")
async def test_servers_are_found_although_services_may_not_be_read(tmp_path: Path):
    async with kube_api() as api:
        api.served.discard("/api/v1/services")
        api.put(SLICES, piece("weather", [endpoint("10.0.0.1")]))
        async with watching(api, tmp_path, annotations=True) as published:
            await published.when(bool)


@pytest.mark.covers("B-209")
@pytest.mark.parametrize("conditions", [{"Verified": "True"}, {"Ready": "True"}], ids=str)
async def test_an_mcp_server_object_is_resolved_to_the_instances_of_its_service(tmp_path: Path, conditions):
    theirs = {"app": "mcp-server", "mcp-server": "rain"}
    async with kube_api() as api:
        api.put(SLICES, piece("rain", [endpoint("10.0.0.1")], labels=theirs, ports=[port(9000, "mcp")]))
        api.put("mcpservers", mcp_server("rain", "http://rain.tools.svc.cluster.local:8080/v2", conditions))
        async with watching(api, tmp_path, resources=True) as published:
            found = (await published.when(bool))["rain"]
    assert found.ready == (Address("10.0.0.1", 9000),)
    assert (found.path, found.origin) == ("/v2", "MCPServer tools/rain")
    assert found.authority == "rain.tools.svc.cluster.local:8080"


@pytest.mark.covers("B-209")
@pytest.mark.parametrize(
    "server",
    [
        mcp_server("rain", "http://rain:8080/mcp", {"Verified": "False", "Ready": "True"}),
        mcp_server("rain", "http://rain:8080/mcp", {}),
        mcp_server("rain", ""),
        mcp_server("rain", "ftp://rain"),
        mcp_server("rain", "http://rain:8080/mcp", group="toolhive.stacklok.dev/v1beta1"),
        mcp_server("rain", "http://rain:8080/mcp") | {"kind": "RemoteMCPServer"},
    ],
    ids=["not verified", "nothing said", "no address", "no URL", "another group", "another kind"],
)
async def test_an_mcp_server_object_that_cannot_be_believed_is_left_out(tmp_path: Path, server):
    theirs = {"app": "mcp-server", "mcp-server": "rain"}
    async with kube_api() as api:
        api.put(SLICES, piece("rain", [endpoint("10.0.0.1")], labels=theirs))
        api.put(SLICES, piece("weather", [endpoint("10.0.0.2")]))
        api.put("mcpservers", server)
        async with watching(api, tmp_path, resources=True) as published:
            assert set(await published.when(bool)) == {"weather"}


async def test_an_mcp_server_elsewhere_is_dialled_by_its_name_and_older_versions_are_read(tmp_path: Path):
    async with kube_api() as api:
        api.served = {"/apis/discovery.k8s.io/v1/endpointslices", "/apis/mcp.x-k8s.io/v1alpha1/mcpservers"}
        api.put("mcpservers", mcp_server("far", "https://mcp.example/x", group="mcp.x-k8s.io/v1alpha1"))
        async with watching(api, tmp_path, resources=True) as published:
            found = (await published.when(bool))["far"]
    assert (found.secure, found.ready, found.authority) == (True, (Address("mcp.example", 443),), "mcp.example")


@pytest.mark.covers("B-213")
async def test_what_is_found_twice_is_one_server_also_while_it_has_no_instances(tmp_path: Path):
    async with kube_api() as api:
        for name in ("weather", "weather-headless"):
            api.put(SLICES, piece(name, [endpoint("10.0.0.1")]))
        async with watching(api, tmp_path) as published:
            assert set(await published.when(bool)) == {"weather"}
            api.put(SLICES, piece("weather-headless"))
            api.put(SLICES, piece("weather"))
            assert set(await published.when(lambda found: not found["weather"].ready)) == {"weather"}
            api.put(SLICES, piece("weather", [endpoint("10.0.0.2")]))
            await published.when(lambda found: hosts(found["weather"]) == {"10.0.0.2"})
            api.put(SLICES, piece("weather-headless", [endpoint("10.0.0.9")]))
            await published.when(lambda found: set(found) == {"weather", "weather-headless"})


@pytest.mark.covers("B-213")
async def test_two_servers_of_one_name_get_two_names_and_a_warning(tmp_path: Path):
    async with kube_api() as api:
        for number, name in enumerate(("a", "b", "rain")):
            api.put(SLICES, piece(name, [endpoint(f"10.0.0.{number}")]))
            api.put("services", service(name, {"mcp-sidecar.dev/name": "rain"}))
        async with watching(api, tmp_path, annotations=True) as published:
            found = await published.when(lambda found: len(found) == 3)
        assert {name: one.origin for name, one in found.items()} == {
            "rain": "Service tools/a",
            "b": "Service tools/b",
            "rain-2": "Service tools/rain",
        }
        assert any(b"Service tools/b" in line and b"is the name of" in line for line in published.log)


@pytest.mark.covers("B-212")
async def test_a_wrong_annotation_is_warned_about_once_with_its_object_and_key(tmp_path: Path):
    async with kube_api() as api:
        api.put(SLICES, piece("weather", [endpoint("10.0.0.1")]))
        api.put("services", service("weather", {"mcp-sidecar.dev/transport": "pigeon"}))
        async with watching(api, tmp_path, annotations=True) as published:
            await published.when(bool)
            api.put(SLICES, piece("weather", [endpoint("10.0.0.2")]))
            await published.when(lambda found: hosts(found["weather"]) == {"10.0.0.2"})
        (warning,) = [line for line in published.log if b"pigeon" in line]
        assert b"Service tools/weather" in warning and b"mcp-sidecar.dev/transport" in warning


@pytest.mark.covers("B-210")
async def test_several_selectors_are_united_and_a_star_takes_what_is_marked(tmp_path: Path):
    async with kube_api() as api:
        api.put(SLICES, piece("one", [endpoint("10.0.0.1")], labels={"team": "a"}))
        api.put(SLICES, piece("two", [endpoint("10.0.0.2")], labels={}, ports=[port(app_protocol="mcp")]))
        api.put(SLICES, piece("database", [endpoint("10.0.0.3")], labels={}))
        async with watching(api, tmp_path, selectors=("team=a", "*")) as published:
            assert set(await published.when(bool)) == {"one", "two"}


@pytest.mark.covers("B-211")
async def test_an_opt_out_that_comes_later_takes_the_server_away(tmp_path: Path):
    async with kube_api() as api:
        api.put(SLICES, piece("weather", [endpoint("10.0.0.1")], labels={"team": "a"}))
        async with watching(api, tmp_path, selectors=("team=a",)) as published:
            await published.when(bool)
            labels = {"team": "a", "kagent.dev/discovery": "disabled"}
            api.put(SLICES, piece("weather", [endpoint("10.0.0.1")], labels=labels))
            await published.when(lambda found: not found)


@pytest.mark.covers("B-203")
async def test_nothing_is_published_before_the_server_was_heard(tmp_path: Path):
    clock = FakeTime(horizon=300.0)
    async with kube_api() as api:
        api.put(SLICES, piece("weather", [endpoint("10.0.0.1")]))
        api.fault = Refusal(403)
        async with watching(api, tmp_path, clock) as published:
            async with asyncio.timeout(BOUND):
                await clock.over.wait()
            assert published.all == []


async def test_what_changes_nothing_is_not_published(tmp_path: Path):
    async with kube_api() as api:
        api.put(SLICES, piece("weather", [endpoint("10.0.0.1")]))
        async with watching(api, tmp_path) as published:
            await published.when(bool)
            api.put(SLICES, piece("weather", [endpoint("10.0.0.1")], labels=OURS | {"irrelevant": "x"}))
            api.put(SLICES, piece("other", [endpoint("10.0.0.2")]))
            await published.when(lambda found: "other" in found)
            assert len(published.all) == 2

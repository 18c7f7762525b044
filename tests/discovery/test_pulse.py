"""How fresh the knowledge of a source is: `mcp_sidecar.discovery.pulse`, and the sources that keep it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mcp_sidecar.discovery.pulse import Pulse
from mcp_sidecar.kube.discovery import KubeSource
from mcp_sidecar.logs import Log
from mcp_sidecar.settings import DiscoverySettings
from tests.discovery.test_dns import Resolver, running
from tests.inbound.waiting import eventually
from tests.kube.clock import FakeTime
from tests.kube.objects import endpoint, piece
from tests.support.kube_api import Refusal, kube_api


def test_the_age_is_that_of_what_was_heard_of_longest_ago():
    now = 100.0
    pulse = Pulse(lambda: now)
    assert pulse.age() == 0.0
    pulse.expect("a")
    pulse.expect("b")
    now = 130.0
    assert pulse.age() == 30.0, "nothing was heard since the beginning"
    pulse.heard("a")
    assert pulse.age() == 30.0
    pulse.heard("b")
    pulse.expect("b")
    now = 131.0
    assert pulse.age() == 1.0


@pytest.mark.covers("B-374")
async def test_a_name_that_cannot_be_looked_up_grows_old_and_no_such_name_is_an_answer():
    resolver = Resolver(w=["10.0.0.1"], x=[])
    async with running(resolver, 0.01) as it:
        await eventually(lambda: it.published)
        resolver.says["x"] = TimeoutError()
        asked = resolver.asked["x"] + 1
        await eventually(lambda: resolver.asked["x"] > asked)
        (old,) = {it.source.pulse._heard["x"]}
        asked = resolver.asked["w"] + 2
        await eventually(lambda: resolver.asked["w"] > asked)
        assert it.source.pulse._heard["x"] == old < it.source.pulse._heard["w"]


@pytest.mark.covers("B-374")
async def test_a_watch_is_heard_with_every_answer_and_says_why_it_began_anew(tmp_path: Path):
    clock, reasons = FakeTime(), list[str]()
    async with kube_api() as api, asyncio.TaskGroup() as tasks:
        api.put("endpointslices", piece("weather", [endpoint("10.0.0.1")]))
        settings = DiscoverySettings(mode="namespace", kubeconfig=api.kubeconfig(tmp_path, token=api.token))
        source = KubeSource(settings, Log(lambda _: None), time=clock.time)
        source.pulse.restarted = reasons.append
        published = asyncio.Event()
        task = tasks.create_task(source.run(lambda _: published.set()), name="source")
        async with asyncio.timeout(10):
            await published.wait()
        assert source.pulse.age() == 0.0
        clock.advance(81.0)
        await eventually(lambda: reasons)
        task.cancel()
    assert reasons[0] == "SILENCE"


@pytest.mark.covers("B-374")
async def test_what_is_refused_says_so_and_knowledge_grows_old(tmp_path: Path):
    clock, reasons = FakeTime(horizon=300.0), list[str]()
    async with kube_api() as api, asyncio.TaskGroup() as tasks:
        settings = DiscoverySettings(mode="namespace", kubeconfig=api.kubeconfig(tmp_path))
        api.fault = Refusal(403)
        source = KubeSource(settings, Log(lambda _: None), time=clock.time)
        source.pulse.restarted = reasons.append
        task = tasks.create_task(source.run(lambda _: None), name="source")
        async with asyncio.timeout(10):
            await clock.over.wait()
        assert source.pulse.age() == clock.seconds > 100
        task.cancel()
    assert set(reasons) == {"PERMISSION_DENIED"}

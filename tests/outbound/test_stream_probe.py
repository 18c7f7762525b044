"""How the era of a program is found out, whatever it does when it is asked."""

from __future__ import annotations

import pytest

from mcp_sidecar.errors import UpstreamUnavailable
from mcp_sidecar.outbound import stream_probe
from mcp_sidecar.protocol.eras import Era
from tests.outbound.links import ask
from tests.outbound.programs import BOTH_ERAS, fake, linked, programs

both_eras = pytest.mark.parametrize("era", BOTH_ERAS)


@pytest.mark.covers("B-111")
@both_eras
async def test_the_era_is_found_out_on_the_process_that_then_serves(era: str):
    async with programs(fake(era)) as its:
        link = its.link(verdict := await its.verdict())
        assert verdict.era.value == era
        assert verdict.until == float("inf")
        await link.open()
        assert await ask(link, "seen", {"what": "cancelled"}) == "[]"
        await link.close()
        starts = its.ways._launchers[its.upstream.endpoints[0]]  # type: ignore[index]
        assert starts._failures == 0


@pytest.mark.covers("B-111")
async def test_a_server_that_ends_at_what_it_does_not_know_is_started_again_and_initialised_first():
    async with linked(fake("legacy", "exits-early")) as (_, link):
        assert link.era is Era.LEGACY
        assert await ask(link, "echo", {"text": "hi"}) == "hi"


@pytest.mark.covers("B-111")
async def test_a_server_that_is_silent_before_initialize_is_a_legacy_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream_probe, "SILENCE_SECONDS", 0.3)
    async with linked(fake("legacy", "silent-early")) as (_, link):
        assert link.era is Era.LEGACY
        assert await ask(link, "echo", {"text": "hi"}) == "hi"


@pytest.mark.covers("B-111")
@both_eras
async def test_a_server_that_takes_long_to_start_is_not_mistaken(era: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream_probe, "SILENCE_SECONDS", 0.05)
    async with linked(fake(era, "slow")) as (_, link):
        assert link.era.value == era
        assert await ask(link, "echo", {"text": "hi"}) == "hi"


async def test_a_server_that_says_nothing_at_all_is_unavailable_and_is_ended(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream_probe, "SILENCE_SECONDS", 0.02)
    monkeypatch.setattr(stream_probe, "START_SECONDS", 0.1)
    async with programs(fake("legacy", command=("sleep", "600"))) as its:
        with pytest.raises(UpstreamUnavailable, match="said nothing"):
            await its.verdict()


@pytest.mark.covers("B-10")
@pytest.mark.parametrize(("protocol", "era"), [("2026-07-28", "modern"), ("2025-06-18", "legacy")])
async def test_a_configured_revision_is_spoken_without_asking(protocol: str, era: str):
    async with linked(fake(era, protocol=protocol)) as (_, link):
        assert link.era.value == era
        assert link.profile.version == protocol
        assert await ask(link, "echo", {"text": "hi"}) == "hi"

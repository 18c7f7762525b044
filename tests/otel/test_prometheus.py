"""A Prometheus that scrapes a sidecar answers what the dashboard asks, with the numbers of the callers' ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.deploy.test_dashboard import panels
from tests.otel.asking import until
from tests.otel.calling import PLAN, Entry, call_all, settings, tally
from tests.otel.collector import collector
from tests.otel.prometheus import Prometheus, needed, prometheus
from tests.otel.telling import ended, telling
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Modern
from tests.support.sidecar_process import sidecar_process

pytestmark = needed

COUNTED = "sum by (tool, code) (mcp_server_operation_duration_seconds_count)"


def asked(panel: str) -> str:
    """What a panel asks, word for word, with Grafana's variables as they are for all namespaces and half a minute."""
    return panels()[panel].replace("$namespace", ".*").replace("$__rate_interval", "30s")


async def until_scraped(found: Prometheus, ledger: list[Entry]) -> None:
    """It has seen every call of the ledger."""
    wanted = {tuple(reversed(labels)): number for labels, number in tally(ledger, "label", "code").items()}

    async def seen() -> bool:
        return await found.query(COUNTED) == wanted

    await until(seen)


async def until_shown(found: Prometheus, panel: str, values: dict[tuple[str, ...], float]) -> None:
    """A panel has these values."""

    async def shown() -> bool:
        return await found.query(asked(panel)) == values

    await until(shown)


def shares(numbers: Mapping[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    """Each as a part of the whole: a rate is stretched to its window, all of one query alike.

    That is, where each counter grows by the same part of what it was; so everything is called as often before.
    """
    whole = sum(numbers.values())
    return {labels: number / whole for labels, number in numbers.items() if number}


@pytest.mark.covers("B-344")
async def test_the_dashboard_shows_the_callers_numbers(tmp_path: Path):
    async with FakeServer() as server:
        with sidecar_process({"down": "http://127.0.0.1:9/mcp"}, *settings(tmp_path, server.url)) as sidecar:
            first = await call_all(sidecar, PLAN)  # a counter grows only from the first value on that is scraped
            async with prometheus(tmp_path, sidecar.bound["metrics"]) as found:
                await until_scraped(found, first)
                ledger = await call_all(sidecar, PLAN)
                await until_scraped(found, first + ledger)
                by_tool = await found.query(asked("Calls by server and tool A"))
                failing = await found.query(asked("Calls that fail, by error A"))
                await until_shown(found, "MCP servers by state A", {("down",): 1, ("unknown",): 0, ("up",): 1})
    calls: dict[tuple[str, ...], float] = {("up", label): number for (label,), number in tally(ledger, "label").items()}
    assert shares(by_tool) == pytest.approx(shares(calls))
    assert failing.keys() == {("tool_error", "up", "fail")}  # what only callers did wrong is no failure


async def test_calls_in_flight_are_on_the_dashboard(tmp_path: Path):
    async with FakeServer() as server:
        with sidecar_process({"up": server.url}) as sidecar:
            async with prometheus(tmp_path, sidecar.bound["metrics"]) as found:
                client = Modern(sidecar.url("up"))
                async with asyncio.TaskGroup() as callers:
                    for number in range(3):
                        callers.create_task(client.call("hold", {"gate": "g"}), name=f"caller {number}")
                    await until_shown(found, "In flight, connections, sessions A", {(): 3})
                    server.release("g")
                await until_shown(found, "In flight, connections, sessions A", {(): 0})


@pytest.mark.covers("B-344")
async def test_every_panel_of_the_dashboard_has_an_answer(tmp_path: Path):
    changes = "Changes of what servers offer, and watches begun anew"
    seldom = {"Retries, and calls refused for want of room A", "Retries, and calls refused for want of room B"}
    seldom |= {"Endpoints found broken, or sound again A", "Calls to other sidecars, by status A"}
    seldom |= {"Age of what discovery knows A", f"{changes} A", f"{changes} B"}
    async with FakeServer() as server:
        with collector(tmp_path) as running, telling(running, server.url) as sidecar:
            async with prometheus(tmp_path, sidecar.bound["metrics"]) as found:
                first = await call_all(sidecar, PLAN)
                await until_scraped(found, first)
                await until_scraped(found, first + await call_all(sidecar, PLAN))
                answers = {panel: await found.query(asked(panel)) for panel in panels()}
            await ended(sidecar)
    assert {panel for panel, rows in answers.items() if not rows} <= seldom
    memory = next(rows for panel, rows in answers.items() if panel.startswith("Memory"))
    assert len(memory) == 1


@pytest.mark.covers("B-344")
async def test_exemplars_lead_to_the_callers_traces(tmp_path: Path):
    async with FakeServer() as server:
        with collector(tmp_path) as running, telling(running, server.url) as sidecar:
            async with prometheus(tmp_path, sidecar.bound["metrics"]) as found:
                ledger = await call_all(sidecar, PLAN)
                await until_scraped(found, ledger)
                series = "mcp_server_operation_duration_seconds_bucket"
                rows = await found.ask("query_exemplars", query=series, start="0", end="9999999999")
            await ended(sidecar)
    traces = {one["labels"]["trace_id"] for row in rows for one in row["exemplars"]}
    assert traces and traces <= {entry.trace for entry in ledger}

"""What a real collector scrapes from `/metrics` is what was called, and what the sidecar itself sent by OTLP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from mcp_sidecar.inbound.instruments import CPU_SECONDS, TABLE
from tests.otel.arrived import SERVER, Arrived, attributes
from tests.otel.asking import until
from tests.otel.calling import FAILED, PLAN, Entry, call_all, tally
from tests.otel.collector import SCRAPED, Json, collector, configuration, scraping
from tests.otel.telling import ended, telling
from tests.support.fake_server import FakeServer

SERVED, SENT = "mcp_server_operation_duration_seconds", "mcp_client_operation_duration_seconds"
CALLS, RPC = "mcp_sidecar_calls_total", "rpc_server_call_duration_seconds"
ERRORS = {FAILED: "tool_error"}
"""The label `error`; what only its caller did wrong has none."""


def assert_counted(ledger: list[Entry], scraped: Arrived) -> None:
    """Histograms and counters add up to the ledger, and have the labels that the page gives them."""
    assert numbers(scraped, SERVED) == Counter(frozenset(labels(entry).items()) for entry in ledger)
    assert scraped.counts(CALLS, "code", "execution") == Counter((entry.code, execution(entry)) for entry in ledger)
    over_grpc = [entry for entry in ledger if entry.face == "grpc"]
    assert scraped.counts(RPC, "rpc_method", "code") == {
        ("mcp_sidecar.v1.MCPEngine/CallTool", code): number for (code,), number in tally(over_grpc, "code").items()
    }
    exchanges = scraped.counts(SENT, "method", "server", "tool", "error")
    sent = tally([entry for entry in ledger if entry.kind.sent], "label", "error")
    assert {by[2:]: number for by, number in exchanges.items() if by[:2] == ("tools/call", "up")} == sent


def labels(entry: Entry) -> dict[str, str]:
    """All that the page says of a call."""
    error = {"error": ERRORS[entry.kind]} if entry.kind in ERRORS else {}
    return {"method": "tools/call", "server": "up", "tool": entry.label, "code": entry.code, **error}


def execution(entry: Entry) -> str:
    return "done" if entry.kind.sent else "none"


def numbers(arrived: Arrived, name: str) -> dict[frozenset[tuple[str, str]], int]:
    """How often each set of labels was counted."""
    return {frozenset(attributes(point).items()): int(point.get("count", 0)) for point in arrived.points(name)}


def assert_exemplars(ledger: list[Entry], scraped: Arrived, sent: Arrived) -> None:
    """Each names the SERVER span of a call that is counted in its series, and every series of traced calls has one."""
    served = {(span.trace, span.span) for span in sent.spans if span.kind == SERVER}
    called = {entry.trace: entry for entry in ledger}
    for point in scraped.points(SERVED):
        found = point.get("exemplars", [])
        assert found and {(one["traceId"], one["spanId"]) for one in found} <= served
        assert [labels(called[one["traceId"]]) for one in found] == [attributes(point)] * len(found)


def assert_same(scraped: Arrived, sent: Arrived) -> None:
    """What only ever grows is the same both ways, series by series and bucket by bucket."""
    for name, instrument in TABLE.items():
        if instrument.kind != "gauge" and name != CPU_SECONDS:  # these are those of the moment
            paged = series(scraped, name, instrument.attributes, instrument.always)
            assert paged == series(sent, instrument.otlp, {}, {}), name


def series(
    arrived: Arrived, name: str, renamed: Mapping[str, str], always: Mapping[str, str]
) -> dict[frozenset[object], Json]:
    """The values of each set of attributes; `renamed` are their names in OTLP, `always` is what only that has."""
    values = ("bucketCounts", "explicitBounds", "count", "sum", "asDouble")
    return {
        frozenset((*always.items(), *((renamed.get(key, key), value) for key, value in attributes(point).items()))): {
            key: point[key] for key in values if key in point
        }
        for point in arrived.points(name)
    }


@pytest.mark.covers("B-344")
async def test_what_a_collector_scrapes_is_the_callers_ledger_and_what_was_sent(tmp_path: Path):
    folder = tmp_path / "scraping"
    folder.mkdir()
    async with FakeServer() as server:
        with collector(tmp_path) as told, telling(told, server.url) as sidecar:
            config = scraping(configuration(folder), folder, sidecar.bound["metrics"])
            with collector(folder, config) as running:
                ledger = await call_all(sidecar, PLAN)
                await until_scraped(folder, CALLS, len(ledger))
                await ended(sidecar)
                await until_scraped(folder, "up", 0)
                running.end()
            told.end()
    scraped, sent = Arrived(folder, SCRAPED), Arrived(tmp_path)
    assert_counted(ledger, scraped)
    assert_exemplars(ledger, scraped, sent)
    assert_same(scraped, sent)


async def until_scraped(folder: Path, name: str, number: int) -> None:
    """The last scrape has found so many, all series together."""

    async def found() -> bool:
        return sum(Arrived(folder, SCRAPED).counts(name).values()) == number

    await until(found)

"""What was called is what a real collector has written, signal by signal, call by call."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.otel.arrived import CLIENT, SERVER, Arrived
from tests.otel.calling import FACES, GOOD, PLAN, Entry, call_all, tally
from tests.otel.collector import Json, collector, configuration
from tests.otel.telling import ended, telling
from tests.support.certificates import Authority
from tests.support.fake_server import FakeServer
from tests.support.sidecar_process import SidecarProcess

WAYS = ("grpc", "http")
SERVED, SENT = "mcp.server.operation.duration", "mcp.client.operation.duration"
TOOL, CODE = "gen_ai.tool.name", "mcp_sidecar.code"


def assert_spans(ledger: list[Entry], arrived: Arrived) -> None:
    """A SERVER span below each caller's own, a CLIENT span below it where the call was sent on, and nothing else."""
    assert {span.trace for span in arrived.spans} == {entry.trace for entry in ledger}
    for entry in ledger:
        spans = arrived.of(entry.trace)
        assert [span.kind for span in spans] == ([SERVER, CLIENT] if entry.kind.sent else [SERVER]), entry
        assert [span.parent for span in spans] == [entry.span, spans[0].span][: len(spans)]
        assert {span.name for span in spans} == {f"tools/call {entry.kind.tool}"}
        assert {span.attributes.get("error.type", "") for span in spans} == {entry.error}, entry
        assert [span.error for span in spans] == [entry.kind.fault, bool(entry.error)][: len(spans)], entry


def assert_metrics(ledger: list[Entry], arrived: Arrived) -> None:
    """Histograms and counters add up to the ledger."""
    assert arrived.counts(SERVED, TOOL, CODE) == tally(ledger, "label", "code")
    sent = tally([entry for entry in ledger if entry.kind.sent], "label", "error")
    calls = {labels[1:]: number for labels, number in counted(arrived).items() if labels[0] == "tools/call"}
    assert calls == sent
    assert arrived.counts("mcp_sidecar.calls", CODE) == tally(ledger, "code")
    over_grpc = [entry for entry in ledger if entry.face == "grpc"]
    assert arrived.counts("rpc.server.call.duration", "rpc.status_code") == tally(over_grpc, "code")
    assert sum(arrived.counts("mcp_sidecar.telemetry.dropped").values()) == 0


def counted(arrived: Arrived) -> dict[tuple[str, ...], int]:
    """The exchanges with the server; the sidecar has some of its own, such as the list of tools."""
    return arrived.counts(SENT, "mcp.method.name", TOOL, "error.type")


def assert_records(ledger: list[Entry], arrived: Arrived) -> None:
    """A record for each call, in the trace and the SERVER span of the call."""
    served = {span.trace: span.span for span in arrived.spans if span.kind == SERVER}
    found = {record.trace: record for record in arrived.records}
    assert len(arrived.records) == len(ledger)
    for entry in ledger:
        record = found[entry.trace]
        assert record.span == served[entry.trace]
        assert record.attributes["mcp_sidecar.name"] == entry.kind.tool
        assert record.attributes["mcp_sidecar.code"] == entry.code
        assert record.severity == ("INFO" if entry.code == "OK" else "WARNING")


def assert_told(ledger: list[Entry], sidecar: SidecarProcess, arrived: Arrived) -> None:
    """All three signals are the ledger, and one sender has sent them."""
    assert len(sidecar.calls()) == len(ledger)
    assert_spans(ledger, arrived)
    assert_metrics(ledger, arrived)
    assert_records(ledger, arrived)
    assert {resource["service.name"] for resource in arrived.resources} == {"mcp-sidecar"}
    assert len({resource["service.instance.id"] for resource in arrived.resources}) == 1


@pytest.mark.covers("B-340")
@pytest.mark.parametrize("compression", ["", "gzip"])
@pytest.mark.parametrize("way", WAYS)
async def test_spans_metrics_and_records_are_the_callers_ledger(tmp_path: Path, way: str, compression: str):
    config = configuration(tmp_path)
    config["receivers"]["otlp"]["protocols"]["http"]["compression_algorithms"] = [compression]  # and it refuses others
    async with FakeServer() as server:
        with collector(tmp_path, config) as running:
            with telling(running, server.url, way=way, OTEL_EXPORTER_OTLP_COMPRESSION=compression) as sidecar:
                ledger = await call_all(sidecar, PLAN)
                await ended(sidecar)
                running.end()
                assert_told(ledger, sidecar, Arrived(tmp_path))


class Secured:
    """Files with the collector's certificate and the sidecar's, from one authority; and one that nobody trusts."""

    def __init__(self, folder: Path) -> None:
        authority, stranger = Authority(), Authority("stranger")
        for name, issued in {
            "collector": authority.issue("127.0.0.1"),
            "sidecar": authority.issue(common_name="sidecar"),
            "stranger": stranger.issue(common_name="stranger"),
        }.items():
            (folder / f"{name}.crt").write_bytes(issued.certificate)
            (folder / f"{name}.key").write_bytes(issued.key)
        (folder / "ca.crt").write_bytes(authority.certificate)
        self._folder = folder

    def listening(self, *, mutual: bool) -> Json:
        """The `tls` of the collector's receivers."""
        own = {"cert_file": self._file("collector.crt"), "key_file": self._file("collector.key")}
        return {**own, **({"client_ca_file": self._file("ca.crt")} if mutual else {})}

    def sending(self, who: str = "") -> dict[str, str]:
        """What the sidecar is told; `who` it shows itself as."""
        shown = {"CLIENT_CERTIFICATE": f"{who}.crt", "CLIENT_KEY": f"{who}.key"} if who else {}
        files = {"CERTIFICATE": "ca.crt", **shown}
        return {f"OTEL_EXPORTER_OTLP_{name}": self._file(file) for name, file in files.items()}

    def _file(self, name: str) -> str:
        return str(self._folder / name)


@pytest.mark.covers("B-341")
@pytest.mark.parametrize("mutual", [False, True], ids=["tls", "mtls"])
@pytest.mark.parametrize("way", WAYS)
async def test_what_is_sent_with_tls_is_the_callers_ledger(tmp_path: Path, way: str, mutual: bool):
    secured = Secured(tmp_path)
    config = configuration(tmp_path, tls=secured.listening(mutual=mutual))
    async with FakeServer() as server:
        with collector(tmp_path, config) as running:
            shown = secured.sending("sidecar" if mutual else "")
            with telling(running, server.url, way=way, scheme="https", **shown) as sidecar:
                ledger = await call_all(sidecar, PLAN)
                await ended(sidecar)
                running.end()
                assert_told(ledger, sidecar, Arrived(tmp_path))


@pytest.mark.covers("B-341")
@pytest.mark.parametrize("who", ["", "stranger"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_collector_that_does_not_know_the_sidecar_gets_nothing_and_calls_go_on(
    tmp_path: Path, way: str, who: str
):
    secured = Secured(tmp_path)
    config = configuration(tmp_path, tls=secured.listening(mutual=True))
    async with FakeServer() as server:
        with collector(tmp_path, config) as running:
            with telling(running, server.url, way=way, scheme="https", **secured.sending(who)) as sidecar:
                ledger = await call_all(sidecar, {GOOD: 3})
                await ended(sidecar)
                running.end()
                said = {line["signal"]: line["dropped"] for line in sidecar.lines if line["event"] == "telemetry"}
    assert not Arrived(tmp_path).resources
    assert len(server.executions) == len(ledger) == 3 * len(FACES)
    assert (said["traces"], said["logs"]) == (2 * len(ledger), len(ledger))

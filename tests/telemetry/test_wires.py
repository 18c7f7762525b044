"""The way to a collector: TLS on both sides, compression, and headers for each signal, over gRPC and HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.inbound.waiting import eventually
from tests.support.certificates import Authority
from tests.support.otlp import HOST, Collector
from tests.support.relay import Relay
from tests.telemetry.exporting import Exporting, exporting

WAYS = pytest.mark.parametrize("way", ["grpc", "http"])
CALLS = 3


@pytest.fixture(scope="module")
def ours() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def files(ours: Authority, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a sidecar is given, by the keys of its settings, and a stranger's."""
    folder, mine, theirs = tmp_path_factory.mktemp("tls"), ours.issue("sidecar"), Authority("stranger").issue("sidecar")
    contents = {
        "certificate": ours.certificate,
        "client_certificate": mine.certificate,
        "client_key": mine.key,
        "stranger": Authority("stranger").certificate,
        "strange_certificate": theirs.certificate,
        "strange_key": theirs.key,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: str(folder / name) for name in contents}


def chosen(files: dict[str, str], *names: str) -> dict[str, Any]:
    return {name: files[name] for name in names}


async def closed(sidecar: Exporting) -> None:
    sidecar.tell(CALLS)
    sidecar.count(1)
    await sidecar.export.close(3.0)
    await sidecar.conserved()


def arrived(sidecar: Exporting, collector: Collector) -> bool:
    """Everything of all three signals, or nothing of any."""
    found = (len(collector.spans), len(collector.records), bool(collector.metrics))
    assert found in {(CALLS, CALLS, True), (0, 0, False)}
    assert all((one.dropped == 0) == found[2] for one in sidecar.export.deliveries.values())
    return found[2]


@pytest.mark.covers("B-357")
@WAYS
async def test_a_collector_with_a_certificate_of_the_given_authority_is_trusted(
    way: str, ours: Authority, files: dict[str, str]
):
    async with Collector(issued=ours.issue(HOST)) as collector:
        async with exporting(collector, way, **chosen(files, "certificate")) as sidecar:
            await closed(sidecar)
            assert arrived(sidecar, collector)


@pytest.mark.covers("B-357")
@WAYS
@pytest.mark.parametrize("wrong", ["the system's", "a stranger's", "of another name", "expired"])
async def test_any_other_collector_gets_nothing(way: str, wrong: str, ours: Authority, files: dict[str, str]):
    name = "127.0.0.2" if wrong == "of another name" else HOST
    trusted = {"the system's": "", "a stranger's": files["stranger"]}.get(wrong, files["certificate"])
    issued = ours.issue(name, expired=wrong == "expired")
    async with Collector(issued=issued) as collector, exporting(collector, way, certificate=trusted) as sidecar:
        await closed(sidecar)
        assert not arrived(sidecar, collector)


@pytest.mark.covers("B-357")
@WAYS
async def test_a_collector_that_asks_for_a_certificate_is_shown_ours(way: str, ours: Authority, files: dict[str, str]):
    own = chosen(files, "certificate", "client_certificate", "client_key")
    async with Collector(issued=ours.issue(HOST), authorities=ours.certificate) as collector:
        async with exporting(collector, way, **own) as sidecar:
            await closed(sidecar)
            assert arrived(sidecar, collector)


@pytest.mark.covers("B-357")
@WAYS
@pytest.mark.parametrize("shown", ["none", "a stranger's"])
async def test_a_collector_that_asks_for_a_certificate_takes_nothing_without_it(
    way: str, shown: str, ours: Authority, files: dict[str, str]
):
    own = chosen(files, "certificate")
    if shown != "none":
        own |= {"client_certificate": files["strange_certificate"], "client_key": files["strange_key"]}
    async with Collector(issued=ours.issue(HOST), authorities=ours.certificate) as collector:
        async with exporting(collector, way, **own) as sidecar:
            await closed(sidecar)
            assert not arrived(sidecar, collector)


async def carried(collector: Collector, way: str, compression: str) -> int:
    """Bytes that all signals took on their way."""
    port = int(getattr(collector, way).rpartition(":")[2])
    async with Relay(port) as relay:
        endpoint = f"http://{HOST}:{relay.port}"
        async with exporting(collector, way, otlp_endpoint=endpoint, compression=compression) as sidecar:
            sidecar.tell(300)
            await sidecar.export.close(3.0)
            assert all(one.dropped == 0 for one in sidecar.export.deliveries.values())
        return relay.carried


@pytest.mark.covers("B-357")
@WAYS
async def test_what_is_compressed_takes_less_room_and_arrives(way: str):
    async with Collector() as collector:
        plain = await carried(collector, way, "")
        assert len(collector.spans) == 300
        assert await carried(collector, way, "gzip") < plain / 2
        assert len(collector.spans) == len(collector.records) == 600


@pytest.mark.covers("B-353")
@WAYS
async def test_a_signal_has_its_own_headers_in_place_of_the_common_ones(way: str):
    own: dict[str, Any] = {"headers": {"key": "common"}, "traces_to": {"headers": {"Own": "traces"}}}
    async with Collector() as collector, exporting(collector, way, **own) as sidecar:
        await closed(sidecar)
        found = {signal: (said.get("key"), said.get("own")) for signal, said in collector.headers_of.items()}
    assert found == {"traces": (None, "traces"), "metrics": ("common", None), "logs": ("common", None)}


@pytest.mark.covers("B-353")
async def test_each_signal_goes_to_its_own_collector_in_its_own_way():
    async with Collector() as one, Collector() as two:
        own: dict[str, Any] = {
            "traces_to": {"endpoint": f"{two.http}/v1/traces", "protocol": "http/protobuf"},
            "logs_to": {"endpoint": f"{two.http}/v1/logs", "protocol": "http/protobuf", "compression": "gzip"},
        }
        async with exporting(one, "grpc", **own) as sidecar:
            await closed(sidecar)
        assert (len(one.spans), len(one.records), bool(one.metrics)) == (0, 0, True)
        assert (len(two.spans), len(two.records), bool(two.metrics)) == (CALLS, CALLS, False)
        assert two.headers_of["logs"]["content-encoding"] == "gzip"
        assert "content-encoding" not in two.headers_of["traces"]


@pytest.mark.covers("B-355")
async def test_an_answer_that_comes_byte_by_byte_is_not_waited_for_longer_than_any_other():
    async with Collector("drip") as collector:
        queue = {"delay": 0.05}
        async with exporting(collector, "http", timeout=0.3, traces_to=queue, logs_to=queue) as sidecar:
            sidecar.tell(CALLS)
            traces, logs = (sidecar.export.deliveries[signal] for signal in ("traces", "logs"))
            await eventually(lambda: traces.dropped == logs.dropped == CALLS)
            assert traces.trouble


@WAYS
async def test_no_trouble_that_is_said_holds_a_header(way: str):
    async with Collector("INVALID_ARGUMENT") as collector:
        async with exporting(collector, way, headers={"key": "canary"}) as sidecar:
            await closed(sidecar)
            assert len([line for line in sidecar.said if b"telemetry" in line]) == 3
            assert not any(b"canary" in line for line in sidecar.said)


async def test_a_file_that_is_gone_is_an_error_of_the_start(tmp_path: Path):
    async with Collector() as collector:
        with pytest.raises(OSError, match="No such file"):
            Exporting(collector, "grpc", otlp_endpoint="https://c:4317", certificate=str(tmp_path / "gone"))

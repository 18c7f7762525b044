"""Listeners on the network that speak TLS, with real handshakes, certificates and clients."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from mcp_sidecar.call import Principal
from mcp_sidecar.settings import AuthSettings, ListenSettings, ListenTlsSettings, UpstreamSettings, UpstreamTlsSettings
from mcp_sidecar.v1 import engine_pb2
from mcp_sidecar.v1.engine_pb2_grpc import MCPEngineStub
from mcp_sidecar.wire.faults import WireFault
from mcp_sidecar.wire.http_client import HttpClient, Origin
from mcp_sidecar.wire.limits import ClientLimits
from mcp_sidecar.wire.tls import client_material
from tests.inbound.waiting import eventually
from tests.outbound.calling import tool
from tests.support import raw_http
from tests.support.certificates import Authority, Issued, Mounted
from tests.support.fake_server import FakeServer
from tests.support.sidecar import Sidecar

ECHO = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hi"}}}'
POST = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hi"},"_meta":{'
    b'"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}'
)
HEADERS = (
    b"content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
    b"mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: echo\r\n"
)
NEWER = "spiffe://cluster.local/ns/agents/sa/newer"
AGENT = "spiffe://cluster.local/ns/agents/sa/agent"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def agent(authority: Authority) -> Issued:
    return authority.issue(AGENT, "agent.local")


def mounted(folder: Path, authority: Authority, **more: bytes) -> Mounted:
    """A server's files as a volume has them."""
    return Mounted(folder / "tls", **pair(authority.issue("localhost")), **{"ca.crt": authority.certificate}, **more)


def pair(issued: Issued) -> dict[str, bytes]:
    return {"tls.crt": issued.certificate, "tls.key": issued.key}


def tls_of(files: Mounted, *, clients: bool = True) -> ListenTlsSettings:
    return ListenTlsSettings(files.path("tls.crt"), files.path("tls.key"), files.path("ca.crt") if clients else "")


def on_the_network(tls: ListenTlsSettings) -> ListenSettings:
    """One gRPC listener on loopback, and one for the network; HTTP for the network."""
    return ListenSettings(("127.0.0.1:0", "0.0.0.0:0"), "0.0.0.0:0", "127.0.0.1:0", "127.0.0.1:0", tls)


@asynccontextmanager
async def served(listen: ListenSettings, **sections: Any) -> AsyncIterator[tuple[FakeServer, Sidecar]]:
    async with FakeServer() as up, Sidecar({"up": up.url}, listen=listen, **sections) as sidecar:
        yield up, sidecar


def port_of(sidecar: Sidecar, listener: str) -> int:
    bound = sidecar.bound[listener]
    return int((bound if isinstance(bound, str) else bound[-1]).rpartition(":")[2])


@asynccontextmanager
async def over_grpc(sidecar: Sidecar, authority: Authority, shown: Issued | None) -> AsyncIterator[Any]:
    key, certificate = (shown.key, shown.certificate) if shown else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.certificate, key, certificate)
    options = [("grpc.use_local_subchannel_pool", 1)]
    address = f"localhost:{port_of(sidecar, 'grpc')}"
    async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
        yield MCPEngineStub(channel)


@asynccontextmanager
async def over_http(sidecar: Sidecar, authority: Authority, shown: Issued | None) -> AsyncIterator[HttpClient]:
    certificate, key = (shown.certificate, shown.key) if shown else (b"", b"")
    context = client_material(certificate, key, authority.certificate).context
    client = HttpClient(Origin("localhost", port_of(sidecar, "http"), b"localhost", lambda: context), ClientLimits())
    try:
        yield client
    finally:
        client.close()


async def ask(client: HttpClient) -> bytes:
    async with asyncio.timeout(5):
        response = await client.request(b"POST", b"/mcp", HEADERS, POST)
        return await response.read()


@pytest.mark.covers("B-285", "B-287")
async def test_clients_with_a_certificate_are_served_and_known_by_it(tmp_path: Path, authority, agent):
    async with served(on_the_network(tls_of(mounted(tmp_path, authority)))) as (up, sidecar):
        async with over_grpc(sidecar, authority, agent) as engine:
            answer = await engine.Call(engine_pb2.CallRequest(message_json=ECHO), timeout=5)
            assert b'"hi"' in answer.message_json
        async with over_http(sidecar, authority, agent) as client:
            for _ in range(3):
                assert b'"hi"' in await ask(client)
            assert client.open_sockets == 1
        await eventually(lambda: len(sidecar.calls(code="OK", name="echo")) == 4)
        assert {(line["subject"], line["certificate"]) for line in sidecar.calls(name="echo")} == {(AGENT, AGENT)}
        assert up.violations == []


@pytest.mark.covers("B-285")
async def test_loopback_stays_plaintext_beside_it(tmp_path: Path, authority):
    async with served(on_the_network(tls_of(mounted(tmp_path, authority)))) as (_, sidecar):
        assert await tool(sidecar, "echo", {"text": "hi"}) == "hi"
        assert "subject" not in sidecar.calls(name="echo")[0] or sidecar.calls(name="echo")[0]["subject"] == ""


@pytest.mark.covers("B-286")
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("none", "peer did not return a certificate"),
        ("expired", "the client's certificate does not hold: certificate has expired"),
        ("foreign", "the client's certificate does not hold: unable to get local issuer certificate"),
        ("plaintext", "http request"),
    ],
)
async def test_whoever_shows_no_good_certificate_is_refused_with_one_line(
    kind: str, reason: str, tmp_path: Path, authority
):
    shown = {"expired": authority.issue(AGENT, expired=True), "foreign": Authority("other").issue(AGENT)}.get(kind)
    async with served(on_the_network(tls_of(mounted(tmp_path, authority)))) as (up, sidecar):
        if kind == "plaintext":
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(sidecar, "http"))
            writer.write(b"POST /mcp HTTP/1.1\r\nhost: localhost\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
        else:
            async with over_http(sidecar, authority, shown) as client:
                with pytest.raises(WireFault):
                    await ask(client)
            async with over_grpc(sidecar, authority, shown) as engine:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await engine.Call(engine_pb2.CallRequest(message_json=ECHO), timeout=5)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await eventually(lambda: [line for line in sidecar.lines if line["event"] == "handshake"])
        (line,) = (line for line in sidecar.lines if line["event"] == "handshake")
        assert line["error"] == reason
        assert up.requests == []


@pytest.mark.covers("B-287")
async def test_a_token_goes_before_a_certificate_and_both_are_logged(tmp_path: Path, authority, agent):
    (tmp_path / "tokens").write_text("ci s3cret\n")
    auth = AuthSettings(mode="token", token_file=str(tmp_path / "tokens"))
    async with served(on_the_network(tls_of(mounted(tmp_path, authority))), auth=auth) as (_, sidecar):
        async with over_grpc(sidecar, authority, agent) as engine:
            request = engine_pb2.CallRequest(message_json=ECHO)
            await engine.Call(request, timeout=5, metadata=(("authorization", "Bearer s3cret"),))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await engine.Call(request, timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        await eventually(lambda: sidecar.calls(code="OK", name="echo"))
        (line,) = sidecar.calls(code="OK", name="echo")
        assert (line["subject"], line["certificate"]) == ("ci", AGENT)


def test_principals_are_told_apart_by_what_they_showed():
    assert Principal("a") != Principal("a", certificate="a")


@pytest.mark.covers("B-288")
async def test_certificates_are_replaced_while_calls_run_and_no_call_is_lost(tmp_path: Path, authority, agent):
    files = mounted(tmp_path, authority)
    async with served(on_the_network(tls_of(files))) as (up, sidecar):
        first = [await serial(sidecar, authority, agent, listener) for listener in ("http", "grpc")]
        assert first[0] == first[1]
        stop = asyncio.Event()

        async def call_http() -> int:
            count = 0
            while not stop.is_set():
                async with over_http(sidecar, authority, agent) as client:  # a handshake each
                    assert b'"hi"' in await ask(client)
                    assert b'"hi"' in await ask(client)
                count += 2
            return count

        async def call_grpc() -> int:
            count = 0
            async with over_grpc(sidecar, authority, agent) as kept:
                while not stop.is_set():
                    async with over_grpc(sidecar, authority, agent) as engine:
                        for one in (kept, engine):
                            await one.Call(engine_pb2.CallRequest(message_json=ECHO), timeout=5)
                            count += 1
            return count

        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(call()) for call in (call_http, call_grpc)]
            for _ in range(2):
                before = await serial(sidecar, authority, agent, "http")
                files.replace(**pair(authority.issue("localhost")), **{"ca.crt": authority.certificate})
                for listener in ("http", "grpc"):
                    await changed(sidecar, authority, agent, listener, before)
            stop.set()
        made = sum(task.result() for task in running)
        assert made > 10
        assert len(up.executions) == made
        assert not [line for line in sidecar.lines if line["event"] in {"tls", "handshake", "fault"}]


async def serial(sidecar: Sidecar, authority: Authority, shown: Issued, listener: str) -> object:
    """Tells the certificates of a listener apart."""
    context = client_material(shown.certificate, shown.key, authority.certificate).context
    context.set_alpn_protocols(["h2" if listener == "grpc" else "http/1.1"])
    async with asyncio.timeout(5):
        _, writer = await asyncio.open_connection("localhost", port_of(sidecar, listener), ssl=context)
        certificate = writer.get_extra_info("peercert")
        writer.transport.abort()
        return certificate["serialNumber"]


async def changed(sidecar: Sidecar, authority: Authority, shown: Issued, listener: str, before: object) -> None:
    """Return once the listener shows another certificate."""
    async with asyncio.timeout(10):
        while await serial(sidecar, authority, shown, listener) == before:
            pass


@pytest.mark.covers("B-288")
async def test_files_that_do_not_fit_leave_the_old_ones_in_force_with_one_line(tmp_path: Path, authority, agent):
    files = mounted(tmp_path, authority)
    async with served(on_the_network(tls_of(files))) as (_, sidecar):
        before = await serial(sidecar, authority, agent, "http")
        other = authority.issue("localhost")
        crossed = {"tls.crt": other.certificate, "tls.key": authority.issue("localhost").key}
        files.replace(**crossed, **{"ca.crt": authority.certificate})
        await eventually(lambda: [line for line in sidecar.lines if line["event"] == "tls"])
        (line,) = (line for line in sidecar.lines if line["event"] == "tls")
        assert "the key does not belong to the certificate; what was read before stays in force" in line["trouble"]
        for listener in ("http", "grpc"):
            assert await serial(sidecar, authority, agent, listener) == before
        files.replace(**pair(other), **{"ca.crt": authority.certificate})
        await changed(sidecar, authority, agent, "http", before)


@pytest.mark.covers("B-286")
async def test_a_client_that_says_nothing_in_its_handshake_holds_up_no_end(tmp_path: Path, authority):
    async with served(on_the_network(tls_of(mounted(tmp_path, authority)))) as (_, sidecar):
        _, writer = await asyncio.open_connection("127.0.0.1", port_of(sidecar, "http"))
        sidecar.stop()
        await sidecar.stopped(seconds=5.0)
        writer.close()


@pytest.mark.covers("B-285")
async def test_a_pod_drains_its_sidecar_where_it_needs_no_certificate(tmp_path: Path, authority):
    async with served(on_the_network(tls_of(mounted(tmp_path, authority)))) as (_, sidecar):
        url = f"http://{sidecar.address('metrics')}/api/drain"
        reply = await raw_http.post(url, {"wait_seconds": 5})
        assert (reply.status, reply.messages[0]["in_flight"]) == (200, 0)


@pytest.mark.covers("B-285")
async def test_listeners_take_tls_1_2_and_1_3_and_choose_http_1_1(tmp_path: Path, authority):
    async with served(on_the_network(tls_of(mounted(tmp_path, authority), clients=False))) as (_, sidecar):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = client_material(b"", b"", authority.certificate).context
            context.maximum_version = context.minimum_version = version
            context.set_alpn_protocols(["h2", "http/1.1"])
            _, writer = await asyncio.open_connection("localhost", port_of(sidecar, "http"), ssl=context)
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
            writer.transport.abort()


@pytest.mark.covers("B-289")
@pytest.mark.parametrize("scheme", ["grpcs", "https"])
async def test_two_sidecars_show_each_other_certificates_and_go_on_with_newer_ones(
    scheme: str, tmp_path: Path, authority, agent
):
    server_files, client_files = mounted(tmp_path, authority), Mounted(tmp_path / "client", **pair(agent))
    async with served(on_the_network(tls_of(server_files))) as (up, there):
        listener, path = ("grpc", "/up") if scheme == "grpcs" else ("http", "/servers/up/mcp")
        tls = UpstreamTlsSettings(
            server_files.path("ca.crt"), client_files.path("tls.crt"), client_files.path("tls.key")
        )
        near = UpstreamSettings("near", f"{scheme}://localhost:{port_of(there, listener)}{path}", tls=tls)
        async with Sidecar({"near": near}) as here:
            assert await tool(here, "echo", {"text": "hi"}) == "hi"
            client_files.replace(**pair(authority.issue(NEWER)))

            if scheme == "grpcs":  # HTTP keeps its connection: only another one shows the newer certificate
                async with asyncio.timeout(10):
                    while not there.calls(subject=NEWER):
                        assert await tool(here, "echo", {"text": "hi"}) == "hi"
        subjects = {line["subject"] for line in there.calls(name="echo", code="OK")}
        assert AGENT in subjects
        assert up.violations == []


@pytest.mark.covers("B-289")
@pytest.mark.parametrize("scheme", ["grpcs", "https"])
async def test_a_sidecar_that_shows_no_certificate_runs_nothing_there(scheme: str, tmp_path: Path, authority):
    files = mounted(tmp_path, authority)
    async with served(on_the_network(tls_of(files))) as (up, there):
        listener, path = ("grpc", "/up") if scheme == "grpcs" else ("http", "/servers/up/mcp")
        tls = UpstreamTlsSettings(files.path("ca.crt"))
        near = UpstreamSettings("near", f"{scheme}://localhost:{port_of(there, listener)}{path}", tls=tls)
        async with Sidecar({"near": near}) as here:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await here.engine.Call(engine_pb2.CallRequest(message_json=ECHO), timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert up.requests == []

"""Upstreams behind TLS: trusted by the system's authorities (or SSL_CERT_FILE) and by name, or not called at all."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mcp_sidecar.discovery.source import Address, Found
from mcp_sidecar.outbound import trust
from mcp_sidecar.v1 import engine_pb2
from tests.inbound.waiting import eventually
from tests.support.fake_server import FakeServer
from tests.support.scripted_source import ScriptedSource
from tests.support.sidecar import Sidecar

ECHO = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hi"}}}'


def self_signed(folder: Path, *names: str) -> Path:
    """A certificate for these names that is its own authority, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = built.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (file := folder / "server.pem").write_bytes(secret + pem)
    return file


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@asynccontextmanager
async def behind_tls(url: str, certificate: Path) -> AsyncIterator[int]:
    """The port of a TLS terminator in front of `url`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(["h2"])  # gRPC speaks nothing else; HTTP/1.1 does not ask
    target = urlsplit(url)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near, far = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(pump(reader, far), pump(near, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
def _fresh_context() -> Iterator[None]:
    for kept in (trust.system_context, trust.system_authorities):
        kept.cache_clear()
    yield
    for kept in (trust.system_context, trust.system_authorities):
        kept.cache_clear()


@pytest.mark.usefixtures("_fresh_context")
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_server_with_a_trusted_certificate_is_called(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    certificate = self_signed(tmp_path, "localhost", "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with FakeServer() as up, behind_tls(up.url, certificate) as port:
        async with Sidecar({"up": f"https://{host}:{port}/mcp"}) as sidecar:
            for _ in range(3):
                answer = await sidecar.engine.Call(engine_pb2.CallRequest(message_json=ECHO), timeout=5)
                assert b'"hi"' in answer.message_json
        assert len(up.executions) == 3
        assert up.connections <= 2  # the probe's and one that is kept
        assert up.violations == []


@pytest.mark.covers("B-230")
@pytest.mark.usefixtures("_fresh_context")
@pytest.mark.parametrize("named", ["weather.tools.svc", "other.tools.svc"])
async def test_an_address_that_was_found_is_verified_by_the_name_it_was_found_for(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    certificate = self_signed(tmp_path, "weather.tools.svc")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with FakeServer() as up, behind_tls(up.url, certificate) as port:
        found = Found("up", "http", True, "/mcp", f"{named}:{port}", (Address("127.0.0.1", port),))
        async with Sidecar({}, source=ScriptedSource(found)) as sidecar:
            await eventually(lambda: [line for line in sidecar.lines if line["event"] == "discovery"])
            calling = sidecar.engine.Call(engine_pb2.CallRequest(server="up", message_json=ECHO), timeout=5)
            if named == "weather.tools.svc":
                assert b'"hi"' in (await calling).message_json
                assert {request.headers["host"] for request in up.requests} == {f"{named}:{port}"}
            else:
                with pytest.raises(grpc.aio.AioRpcError):
                    await calling
                assert up.requests == []


@pytest.mark.usefixtures("_fresh_context")
@pytest.mark.parametrize("names", [("localhost",), ("elsewhere.example",)], ids=["of nobody we trust", "of another"])
async def test_a_server_that_cannot_be_trusted_hears_nothing(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    certificate = self_signed(tmp_path, *names)
    if "localhost" not in names:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with FakeServer() as up, behind_tls(up.url, certificate) as port:
        async with Sidecar({"up": f"https://localhost:{port}/mcp"}) as sidecar:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await sidecar.engine.Call(engine_pb2.CallRequest(message_json=ECHO), timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert dict(caught.value.trailing_metadata() or ())["mcp-sidecar-execution"] == "none"
        assert up.requests == []


@pytest.mark.covers("B-130")
@pytest.mark.usefixtures("_fresh_context")
@pytest.mark.parametrize("trusted", [True, False])
async def test_another_sidecar_is_called_over_tls_if_its_certificate_is_trusted(
    trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    certificate = self_signed(tmp_path, "localhost")
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with FakeServer() as up, Sidecar({"far": up.url}) as there:
        async with behind_tls(f"tcp://{there.address('grpc')}", certificate) as port:
            async with Sidecar({"near": f"grpcs://localhost:{port}/far"}) as here:
                calling = here.engine.Call(engine_pb2.CallRequest(message_json=ECHO), timeout=5)
                if trusted:
                    assert b'"hi"' in (await calling).message_json
                else:
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await calling
                    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                    assert ("mcp-sidecar-execution", "none") in tuple(caught.value.trailing_metadata() or ())
        assert len(up.executions) == trusted

"""The webhook over TLS, as an API server calls it."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import sys
from pathlib import Path

import pytest

from tests.injection.admitting import pod
from tests.injection.serving import WITHIN, webhook
from tests.injection.test_admission import review
from tests.support.certificates import Authority


@pytest.mark.covers("B-248")
async def test_a_review_is_answered_and_logged(tmp_path: Path) -> None:
    async with webhook(tmp_path) as hook:
        said = await hook.review(review(pod()))
        assert said["allowed"] and said["patchType"] == "JSONPatch"
        (line,) = [json.loads(line) for line in hook.lines if b'"review"' in line]
    assert (line["namespace"], line["pod"], line["outcome"]) == ("agents", "agent", "injected")


@pytest.mark.covers("B-248")
@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/livez", None, 200),
        ("HEAD", "/readyz", None, 200),
        ("GET", "/inject", None, 405),
        ("POST", "/readyz", b"", 405),
        ("GET", "/", None, 404),
        ("POST", "/inject", b"{", 400),
        ("POST", "/inject", b"x" * (4 * 1024 * 1024 + 1), 413),
    ],
)
async def test_other_requests_get_their_status(
    method: str, path: str, body: bytes | None, status: int, tmp_path: Path
) -> None:
    async with webhook(tmp_path) as hook:
        assert (await hook.ask(method, path, body))[0] == status


@pytest.mark.covers("B-249")
async def test_a_certificate_that_changes_is_used_for_the_next_handshake(tmp_path: Path) -> None:
    async with webhook(tmp_path) as hook:
        await hook.review(review(pod()))
        hook.renew()
        async with asyncio.timeout(WITHIN):
            while True:
                try:
                    await hook.review(review(pod()))
                    break
                except ssl.SSLCertVerificationError:
                    pass  # files are looked at once a second


@pytest.mark.covers("B-249")
async def test_after_the_signal_reviews_are_answered_while_readiness_says_no(tmp_path: Path) -> None:
    async with webhook(tmp_path, lame_duck=1.0) as hook:
        hook.stop.set()
        await hook.review(review(pod()))
        assert (await hook.ask("GET", "/readyz"))[0] == 503
        assert (await hook.ask("GET", "/livez"))[0] == 200


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async with webhook(tmp_path) as hook:
        listen = ["--listen", f"127.0.0.1:{hook.port}", "--cert-file", "none", "--key-file", "none"]
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mcp_sidecar", "webhook", *listen),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await asyncio.wait_for(command.communicate(), WITHIN)
        assert command.returncode == 1
        assert said.decode() == f"mcp-sidecar: 127.0.0.1:{hook.port}: Address already in use\n"


@pytest.mark.covers("B-249")
async def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    issued = Authority().issue("127.0.0.1")
    (tmp_path / "crt").write_bytes(issued.certificate)
    (tmp_path / "key").write_bytes(issued.key)
    files = ["--cert-file", str(tmp_path / "crt"), "--key-file", str(tmp_path / "key")]
    words = ["webhook", "--listen", "127.0.0.1:0", *files, "--lame-duck", "0", "--log-level", "debug"]
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mcp_sidecar", *words, stdout=asyncio.subprocess.PIPE
    )
    assert command.stdout is not None
    async with asyncio.timeout(WITHIN):
        line = json.loads(await command.stdout.readline())
        command.send_signal(signal.SIGTERM)
        rest = await command.stdout.read()
        assert await command.wait() == 0
    assert line["event"] == "listening" and line["webhook"].startswith("127.0.0.1:")
    assert b'"stopped"' in rest

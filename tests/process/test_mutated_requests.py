"""Two thousand requests with something wrong on the live port: the process stays, stays small, and takes no blame."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter

import pytest

from tests.inbound.http.posts import headers_of, message, post, written
from tests.support.fake_server import FakeServer
from tests.support.sidecar_process import SidecarProcess, sidecar_process

SEED = 20261122
REQUESTS = 2000
AT_A_TIME = 64
PATIENCE = 0.15  # for the answer to half a request, which never comes
MAX_GROWTH = 40 * 1024 * 1024
_TOKENS = [
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"\r\n\r\n", b"Content-Length: 0\r\n", b"Host: x\r\n",
    b"Transfer-Encoding: chunked\r\n", b"\xff\xfe", b"{", b"}", b"[" * 70, b'"', b"\\u0000", b"0x", b"-1",
    b"HTTP/1.0", b"HTTP/2.0", b"GET ", b"../", b"%00", b"tools/list", b"mcp-name: x\r\n", b"=?base64?", b"99999999999",
    b"Expect: 100-continue\r\n",
]  # fmt: skip


def _valid(url: str) -> list[bytes]:
    bodies = [
        message(),
        message("tools/list"),
        message("resources/read", {"uri": "fake://text"}),
        message("server/discover"),
        message(params={"name": "big", "arguments": {"bytes": 2000}}),
    ]
    return [written(url, body, headers_of(body)) for body in bodies]


def _mutated(rng: random.Random, sent: bytes) -> bytes:
    data = bytearray(sent)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 8, 64)))
        match rng.randrange(6):
            case 0:
                data[at:end] = bytes(rng.randrange(256) for _ in range(end - at))
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = rng.choice(_TOKENS)
            case 3:
                data[at:end] = rng.choice(_TOKENS)
            case 4:
                data[at:at] = data[at:end] * rng.randint(1, 50)
            case _:
                data = data[:at] or data
    return bytes(data)


async def _status(port: int, sent: bytes) -> int:
    """The status of the first answer, 0 when there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        try:
            async with asyncio.timeout(PATIENCE):
                line = await reader.readline()
        except (TimeoutError, ConnectionError):
            return 0
        return int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else 0
    finally:
        writer.transport.abort()


async def _bombard(sidecar: SidecarProcess, requests: list[bytes]) -> Counter[int]:
    port = int(sidecar.bound["http"].rpartition(":")[2])
    statuses: Counter[int] = Counter()
    waiting = iter(requests)

    async def one_after_the_other() -> None:
        for sent in waiting:
            statuses[await _status(port, sent)] += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_A_TIME):
            tasks.create_task(one_after_the_other())
    return statuses


@pytest.mark.covers("B-03", "B-31", "B-44")
async def test_two_thousand_mutated_requests_do_no_harm():
    async with FakeServer() as up:
        with sidecar_process({"up": up.url}, environ={"MCP_SIDECAR_HTTP_HEADER_TIMEOUT": "1s"}) as sidecar:
            url, rng = sidecar.url("up"), random.Random(SEED)
            valid = _valid(url)
            await _bombard(sidecar, valid * 10)
            before = sidecar.resident_bytes
            statuses = await _bombard(sidecar, [_mutated(rng, rng.choice(valid)) for _ in range(REQUESTS)])
            assert sum(statuses.values()) == REQUESTS
            # A mutation of a transport header may well ask for something the server does, but none is a fault of ours.
            assert not [status for status in statuses if status >= 500 and status not in (501, 505)], statuses
            assert statuses[400] > REQUESTS / 10
            assert sidecar.resident_bytes - before < MAX_GROWTH
            assert (await post(url, message())).status == 200
            assert up.violations == []
            sidecar.signal(signal.SIGTERM)
            assert await sidecar.ended() == 0
            assert [line for line in sidecar.lines if line["level"] == "error"] == []
            assert sidecar.err.read_text() == ""

"""Tests of `mcp_sidecar.inbound.auth.keys`, `key_sources` and `download`, with a real key server on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from mcp_sidecar.errors import Unavailable
from mcp_sidecar.inbound.auth.download import download
from mcp_sidecar.inbound.auth.key_sources import UrlKeys
from mcp_sidecar.inbound.auth.keys import find_key, parse_keys
from tests.inbound.signing import Signer, key_server, key_set
from tests.inbound.waiting import eventually

ONE, TWO = Signer("one"), Signer("two")


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def _ignore(_: str) -> None:
    """A report nobody reads."""


def _parse(*rows: object):
    return parse_keys(json.dumps({"keys": rows}).encode())


def test_a_key_serves_the_algorithms_of_its_type_and_curve_only():
    rows = [Signer("r", "RS256").jwk(), Signer("e").jwk(), Signer("f", "ES384").jwk(), Signer("o", "EdDSA").jwk()]
    assert [(key.kid, key.algorithms) for key in _parse(*rows)] == [
        ("r", ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        ("e", ("ES256",)),
        ("f", ("ES384",)),
        ("o", ("EdDSA",)),
    ]


def test_a_key_that_names_its_algorithm_serves_no_other():
    (key,) = _parse(Signer("r", "RS256").jwk(alg="PS256"))
    assert key.algorithms == ("PS256",)


@pytest.mark.parametrize(
    "row",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared", "alg": "RS256"},
        {**ONE.jwk(), "use": "enc"},
        {**ONE.jwk(), "key_ops": ["encrypt"]},
        {**ONE.jwk(), "key_ops": 7},
        {**ONE.jwk(), "alg": "HS256"},
        {**ONE.jwk(), "alg": None},
        {**ONE.jwk(), "alg": ["ES256"]},
        {**ONE.jwk(), "crv": "P-384"},
        {**ONE.jwk(), "crv": ["P-256"]},
        {**ONE.jwk(), "x": "AAAA"},
        {**ONE.jwk(), "x": 5},
        {"kty": "EC", "crv": "P-256"},
        {"kty": ["EC"]},
        {},
        7,
        None,
        json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key())),
    ],
)
def test_a_key_that_cannot_check_signatures_is_passed_over(row):
    assert [key.kid for key in _parse(row, TWO.jwk())] == ["two"]
    with pytest.raises(ValueError, match="no public key"):
        _parse(row)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_of_a_private_key_published_by_accident_only_the_public_half_is_held(algorithm):
    (key,) = _parse(Signer("private", algorithm).private_jwk())
    assert not hasattr(key.public, "private_numbers")
    assert hasattr(key.public, "verify")


def test_a_token_without_key_id_is_served_where_only_one_key_fits():
    keys = _parse(ONE.jwk(), Signer("r", "RS256").jwk())
    assert find_key(keys, None, "ES256") == keys[0]
    assert find_key(_parse(ONE.jwk(), TWO.jwk()), None, "ES256") is None


def test_a_key_is_found_by_its_id_and_only_for_an_algorithm_that_fits():
    keys = _parse(ONE.jwk(), TWO.jwk())
    assert find_key(keys, "two", "ES256") == keys[1]
    assert find_key(keys, "two", "RS256") is None
    assert find_key(keys, "three", "ES256") is None


@pytest.mark.parametrize(
    "contents", [b"", b"{", b"[]", b"null", b'{"keys": {}}', b'{"keys": []}', b"[" * 200_000, b"\xff"]
)
def test_what_is_no_key_set_is_one_error(contents):
    with pytest.raises(ValueError, match="it "):
        parse_keys(contents)


_JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda x: st.lists(x, max_size=3))
_FIELDS = st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "key_ops"]), _JSON)


@given(_FIELDS, st.sampled_from([ONE, Signer("r", "RS256"), Signer("o", "EdDSA")]))
def test_a_key_with_any_fields_is_a_key_or_passed_over(fields, signer):
    assert 1 <= len(_parse(TWO.jwk(), {**signer.jwk(), **fields})) <= 2


# --- from a URL


async def test_the_keys_are_fetched_once_for_all_who_ask_at_the_same_time():
    with key_server(key_set(ONE)) as server:
        server.gate.clear()
        keys = UrlKeys(server.url, _ignore)
        async with asyncio.timeout(5), asyncio.TaskGroup() as tg:
            asks = [tg.create_task(keys.find("one", "ES256")) for _ in range(20)]
            await eventually(lambda: server.asked)
            server.gate.set()
        assert [ask.result() for ask in asks] == [find_key(parse_keys(key_set(ONE)), "one", "ES256")] * 20
        assert server.asked == 1


async def test_a_caller_who_leaves_does_not_end_the_fetch_for_the_others():
    with key_server(key_set(ONE)) as server:
        server.gate.clear()
        keys = UrlKeys(server.url, _ignore)
        async with asyncio.timeout(5), asyncio.TaskGroup() as tg:
            first = tg.create_task(keys.find("one", "ES256"))
            second = tg.create_task(keys.find("one", "ES256"))
            await eventually(lambda: server.asked)
            first.cancel()
            await asyncio.sleep(0)
            server.gate.set()
            assert await second is not None
        assert server.asked == 1


async def test_an_unknown_key_id_has_the_keys_fetched_again_but_not_at_the_callers_pace():
    clock = Clock()
    with key_server(key_set(ONE)) as server:
        keys = UrlKeys(server.url, _ignore, clock)
        assert await keys.find("one", "ES256")
        server.body = key_set(ONE, TWO)
        for _ in range(5):
            assert await keys.find("two", "ES256") is None
        assert server.asked == 1
        clock.now += 10.0
        generation = keys.generation
        assert await keys.find("two", "ES256")
        assert keys.generation != generation
        for _ in range(5):
            assert await keys.find("three", "ES256") is None
        assert server.asked == 2


async def test_after_five_minutes_the_keys_are_fetched_again_and_a_withdrawn_one_is_gone():
    clock = Clock()
    with key_server(key_set(ONE)) as server:
        keys = UrlKeys(server.url, _ignore, clock)
        assert await keys.find("one", "ES256")
        server.body = key_set(TWO)
        clock.now += 299.0
        assert await keys.find("one", "ES256")
        clock.now += 2.0
        assert await keys.find("one", "ES256") is None
        assert server.asked == 2


async def test_keys_that_did_not_change_keep_their_generation():
    clock = Clock()
    with key_server(key_set(ONE)) as server:
        keys = UrlKeys(server.url, _ignore, clock)
        await keys.find("one", "ES256")
        generation = keys.generation
        clock.now += 301.0
        await keys.find("one", "ES256")
        assert server.asked == 2
        assert keys.generation == generation


@pytest.mark.parametrize(
    ("status", "body", "trouble"),
    [
        (500, b"", "status 500"),
        (302, b"", "status 302"),
        (200, b"<html>", "not JSON"),
        (200, b'{"keys": []}', "no public key"),
        (200, b" " * (256 * 1024 + 1), "larger than 256 KiB"),
    ],
)
async def test_a_failed_fetch_leaves_the_last_good_keys_in_force_and_is_reported_once(status, body, trouble):
    clock = Clock()
    reports: list[str] = []
    with key_server(key_set(ONE)) as server:
        keys = UrlKeys(server.url, reports.append, clock)
        assert await keys.find("one", "ES256")
        server.status, server.body = status, body
        server.headers = {"location": f"{server.url}?again"}
        for _ in range(3):
            clock.now += 301.0
            assert await keys.find("one", "ES256")
            async with asyncio.timeout(5):
                await keys._settled()
        assert server.asked == 4, "and no redirect was followed"
    (report,) = reports
    assert trouble in report
    assert "stay in force" in report


async def test_nobody_waits_for_a_key_server_that_is_known_to_be_away():
    clock = Clock()
    with key_server(key_set(ONE)) as server:
        keys = UrlKeys(server.url, _ignore, clock)
        await keys.find("one", "ES256")
        server.status = 500
        clock.now += 301.0
        await keys.find("one", "ES256")
        server.gate.clear()
        clock.now += 10.0
        async with asyncio.timeout(1):
            assert await keys.find("one", "ES256")
        server.gate.set()
        async with asyncio.timeout(5):
            await keys._settled()


async def test_while_there_are_no_keys_the_sidecar_says_when_to_try_again():
    clock = Clock()
    reports: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/keys"
        keys = UrlKeys(url, reports.append, clock)
        for _ in range(3):
            with pytest.raises(Unavailable) as caught:
                await keys.find("one", "ES256")
            assert caught.value.retry_after == 2.0
            assert "127.0.0.1" not in caught.value.message
    (report,) = reports
    assert "refused" in report
    assert "nobody can be let in" in report


async def test_keys_come_when_the_key_server_does():
    clock = Clock()
    with key_server(b"") as server:
        keys = UrlKeys(server.url, _ignore, clock)
        with pytest.raises(Unavailable):
            await keys.find("one", "ES256")
        server.body = key_set(ONE)
        clock.now += 2.0
        assert await keys.find("one", "ES256")


# --- the download itself


def test_a_download_gives_the_body_and_asks_for_the_whole_target():
    with key_server(b"x" * 1000) as server:
        assert download(server.url + "?a=b", seconds=3, limit=1000) == b"x" * 1000


def test_a_download_over_the_limit_is_refused():
    with key_server(b"x" * 1001) as server, pytest.raises(ValueError, match="larger"):
        download(server.url, seconds=3, limit=1000)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"])
def test_a_server_that_drips_cannot_hold_a_download_longer_than_its_time(start):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        done = threading.Event()

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(start)
                while not done.wait(0.01):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        begun = time.monotonic()
        try:
            with pytest.raises(TimeoutError):
                download(f"http://127.0.0.1:{listening.getsockname()[1]}/", seconds=0.1, limit=10_000)
            assert time.monotonic() - begun < 5
        finally:
            done.set()
            thread.join(5)


def test_what_is_not_http_is_one_error():
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")
                connection.recv(1000)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ValueError, match="not sound HTTP"):
            download(f"http://127.0.0.1:{listening.getsockname()[1]}/", seconds=3, limit=1000)
        thread.join(5)


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path):
    with pytest.raises(OSError, match=r"(?i)ssl|tls|wrong version|certificate"), key_server(b"{}") as server:
        download(server.url.replace("http:", "https:"), seconds=3, limit=1000)

"""Every official client with every kind of server, through a sidecar process and, where they can, without one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.matrix import table
from tests.matrix.pairs import (
    CLIENTS,
    FAULTS,
    SERVERS,
    Outcomes,
    expected,
    meet_directly,
    only_alone,
    possible,
    waits_for,
    words_for,
)
from tests.matrix.words import CHECKS, SDK
from tests.support.sidecar_process import SidecarProcess

SAID = 4000
IMPOSSIBLE_SECONDS = 6.0
pytestmark = pytest.mark.timeout(240)


def pairs(may_be: Callable[[str, str], bool]) -> pytest.MarkDecorator:
    """The clients and servers that `may_be`."""
    chosen = [
        pytest.param(client, server, server, id=f"{client}-to-{server}", marks=in_one_process(server))
        for server in SERVERS
        for client in CLIENTS
        if may_be(client, server)
    ]
    return pytest.mark.parametrize(("client", "server", "place"), chosen, indirect=["place"])


def servers(may_be: Callable[[str], bool]) -> pytest.MarkDecorator:
    """The servers that `may_be`."""
    chosen = [pytest.param(one, one, id=one, marks=in_one_process(one)) for one in SERVERS if may_be(one)]
    return pytest.mark.parametrize(("server", "place"), chosen, indirect=["place"])


def in_one_process(server: str) -> pytest.MarkDecorator:
    """One process runs all tests of a server, so that it is started once."""
    return pytest.mark.xdist_group(server)


def able(server: str) -> list[str]:
    """The clients for which the sidecar lacks nothing."""
    return [client for client in CLIENTS if not waits_for(client, server)]


def in_short(outcomes: Outcomes) -> Outcomes:
    """Without what went wrong."""
    return {check: "failed" if why.startswith("failed") else why for check, why in outcomes.items()}


def without(checks: Collection[str], mapping: Mapping[str, Any]) -> dict[str, Any]:
    return {check: value for check, value in mapping.items() if check not in checks}


def behind(sidecar: SidecarProcess, client: str) -> str:
    """Where the client reaches the sidecar's upstream."""
    return f"{sidecar.bound['grpc']}/server" if CLIENTS[client].over == "grpc" else sidecar.url("server")


@pytest.mark.covers("B-20", "B-40", "B-70", "B-74", "B-75", "B-80", "B-82")
@pairs(lambda client, server: client in able(server))
def test_a_client_gets_from_a_server_what_it_would_get_without_the_sidecar(
    client: str, server: str, sidecar: SidecarProcess
) -> None:
    outcomes = CLIENTS[client].run(behind(sidecar, client), words_for(client, server))
    print(f"the sidecar said:\n{sidecar.out.read_text()[-SAID:]}")
    assert in_short(outcomes) == expected(client, server), outcomes


@pytest.mark.covers("B-14")
@servers(lambda server: bool(able(server)))
def test_all_clients_at_once_get_each_what_is_its_own(server: str, sidecar: SidecarProcess) -> None:
    able_to = able(server)
    words = {client: without(only_alone(client, server), words_for(client, server)) for client in able_to}
    wanted = {client: without(only_alone(client, server), expected(client, server)) for client in able_to}
    with ThreadPoolExecutor(len(able_to)) as pool:
        found = pool.map(lambda client: CLIENTS[client].run(behind(sidecar, client), words[client]), able_to)
        outcomes = dict(zip(able_to, found, strict=True))
    print(f"the sidecar said:\n{sidecar.out.read_text()[-SAID:]}")
    assert {client: one for client, one in outcomes.items() if in_short(one) != wanted[client]} == {}


@pairs(meet_directly)
def test_a_client_gets_the_same_from_the_server_itself(client: str, server: str, place: str) -> None:
    outcomes = CLIENTS[client].run(place, words_for(client, server, directly=True))
    assert in_short(outcomes) == possible(client, server), outcomes


@servers(lambda server: server == "sdk1-stateless")
def test_what_a_server_without_sessions_cannot_do_it_cannot_do_directly_either(server: str, place: str) -> None:
    impossible = {check for check, words in SERVERS[server].words.items() if isinstance(words, str)}
    # Each runs out of time: together they do it at once.
    with ThreadPoolExecutor(len(impossible)) as pool:
        briefly = {check: {**SDK[check], "seconds": IMPOSSIBLE_SECONDS} for check in impossible}
        outcomes = list(pool.map(lambda check: CLIENTS["python1"].run(place, {check: briefly[check]}), impossible))
    assert [in_short(outcome) for outcome in outcomes] == [{check: "failed"} for check in impossible]


@pytest.mark.parametrize("server", SERVERS)
def test_every_server_has_words_for_every_check(server: str) -> None:
    assert tuple(words_for("python1", server)) == CHECKS


def test_known_faults_are_of_pairs_that_are_there() -> None:
    assert all(client in able(server) and check in CHECKS for client, server, check in FAULTS)


def test_the_table_in_the_documentation_is_what_these_tests_prove(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--write"):
        table.write()
    assert table.written() == table.rendered(), "run `make test-matrix ARGS=--write`"

"""Every official client with every kind of server, through a sidecar process and, where they can, without one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.matrix import table
from tests.matrix.pairs import CLIENTS, FAULTS, SERVERS, expected, meet_directly, waits_for
from tests.matrix.words import CHECKS, SDK, STATELESS
from tests.support.sidecar_process import SidecarProcess

SAID = 4000
pytestmark = pytest.mark.timeout(150)


def pairs(may_be: Callable[[str, str], bool]) -> pytest.MarkDecorator:
    """The clients and servers that `may_be`. One process runs all tests of a server, so that it is started once."""
    chosen = [
        pytest.param(client, server, server, id=f"{client}-to-{server}", marks=pytest.mark.xdist_group(server))
        for server in SERVERS
        for client in CLIENTS
        if may_be(client, server)
    ]
    return pytest.mark.parametrize(("client", "server", "place"), chosen, indirect=["place"])


@pairs(lambda client, server: not waits_for(client, server))
def test_a_client_gets_from_a_server_what_it_would_get_without_the_sidecar(
    client: str, server: str, sidecar: SidecarProcess
) -> None:
    target = f"{sidecar.bound['grpc']}/server" if CLIENTS[client].over == "grpc" else sidecar.url("server")
    outcomes = CLIENTS[client].run(target, SERVERS[server].words)
    print(f"the sidecar said:\n{sidecar.out.read_text()[-SAID:]}")
    failed = {check: why for check, why in outcomes.items() if why.startswith("failed")}
    known = {check for check, outcome in expected(client, server).items() if outcome == "failed"}
    assert failed.keys() == known, failed


@pairs(meet_directly)
def test_a_client_gets_the_same_from_the_server_itself(client: str, server: str, place: str) -> None:
    outcomes = CLIENTS[client].run(place, SERVERS[server].words)
    assert {check: why for check, why in outcomes.items() if why.startswith("failed")} == {}


@pytest.mark.parametrize(
    "place", [pytest.param("sdk1-stateless", marks=pytest.mark.xdist_group("sdk1-stateless"))], indirect=True
)
def test_what_a_server_without_sessions_cannot_do_it_cannot_do_directly_either(place: str) -> None:
    impossible = [check for check, words in STATELESS.items() if isinstance(words, str)]
    outcomes = CLIENTS["python1"].run(place, {check: SDK[check] for check in impossible})
    assert {check for check in impossible if outcomes[check].startswith("failed")} == set(impossible)


@pytest.mark.parametrize("server", SERVERS)
def test_every_server_has_words_for_every_check(server: str) -> None:
    assert tuple(SERVERS[server].words) == CHECKS


def test_known_faults_are_of_pairs_that_are_there() -> None:
    assert all(client in CLIENTS and check in SERVERS[server].words for client, server, check in FAULTS)


def test_the_table_in_the_documentation_is_what_these_tests_prove(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--write"):
        table.write()
    assert table.written() == table.rendered(), "run `make test-matrix ARGS=--write`"

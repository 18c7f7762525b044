"""A Deployment of MCP servers is rolled out anew while agents call: both ledgers agree afterwards."""

from __future__ import annotations

import pytest

from tests.cluster.kubectl import Namespace
from tests.cluster.ledgers import Ledgers
from tests.cluster.manifests import address, agent, keeping_ledgers, server

UPSTREAM = "record"


@pytest.mark.covers("B-273")
def test_a_rolling_update_of_the_servers_loses_no_call_and_runs_none_twice(open_namespace: Namespace) -> None:
    namespace, ledgers = open_namespace, Ledgers(open_namespace)
    first, service = server(UPSTREAM, replicas=2)
    second, _ = server(UPSTREAM, replicas=2, image_version=2)
    namespace.apply(keeping_ledgers(ledgers.folder, first), service)
    namespace.rolled_out(UPSTREAM)
    for name, way in (("over-grpc", "grpc"), ("over-http", "http")):
        busy = {"WAY": way, "CALLERS": 3, "SECONDS": 0.1}
        namespace.apply(keeping_ledgers(ledgers.folder, agent(name, upstream=address(UPSTREAM), agent=busy)))
        namespace.until_ready(name)
    namespace.until("a hundred answers", lambda: len(ledgers.ids("got")) >= 100)
    before = {line["pod"] for line in ledgers.lines() if line["what"] == "ran"}

    namespace.apply(keeping_ledgers(ledgers.folder, second))
    namespace.rolled_out(UPSTREAM)
    answered = len(ledgers.ids("got"))
    namespace.until("a hundred more answers", lambda: len(ledgers.ids("got")) >= answered + 100)
    namespace.kubectl("delete", "pod", "over-grpc", "over-http")

    ledgers.assert_nothing_was_lost()
    after = {line["pod"] for line in ledgers.lines() if line["what"] == "ran"} - before
    assert after, "no new server was called"

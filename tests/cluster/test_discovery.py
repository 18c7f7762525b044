"""Servers are found through the API server, and followed while they come, go, and change their minds."""

from __future__ import annotations

import pytest

from hack.kube.cluster import without
from tests.cluster.kubectl import Namespace
from tests.cluster.ledgers import Ledgers
from tests.cluster.manifests import AGENT, CONTAINER, agent, keeping_ledgers, may_discover, server

UPSTREAM = "record"
FOUND = {"SERVER": UPSTREAM, "CALLERS": 3}


def calling(namespace: Namespace, replicas: int = 1) -> Ledgers:
    """Servers and an agent that found them and calls them; all keep ledgers."""
    ledgers = Ledgers(namespace)
    serving, service = server(UPSTREAM, replicas=replicas)
    namespace.apply(*may_discover(namespace.name), keeping_ledgers(ledgers.folder, serving), service)
    namespace.rolled_out(UPSTREAM)
    namespace.apply(keeping_ledgers(ledgers.folder, agent(AGENT, agent=FOUND, MCP_SIDECAR_START_REQUIRE=UPSTREAM)))
    namespace.until_ready(AGENT)
    namespace.until("answers", lambda: len(ledgers.ids("got")) >= 20)
    return ledgers


def who_ran(ledgers: Ledgers, last: int) -> set[str]:
    """The pods that ran the last calls."""
    ran = sorted((line["at"], line["pod"]) for line in ledgers.lines() if line["what"] == "ran")
    return {pod for _, pod in ran[-last:]}


def stop(namespace: Namespace) -> None:
    namespace.kubectl("delete", "pod", AGENT)


@pytest.mark.covers("B-277")
def test_calls_follow_a_deployment_that_is_scaled_up_and_down(open_namespace: Namespace) -> None:
    ledgers = calling(open_namespace)
    open_namespace.kubectl("scale", f"deployment/{UPSTREAM}", "--replicas=3")
    open_namespace.until("three pods run calls", lambda: len(who_ran(ledgers, 60)) == 3)
    open_namespace.kubectl("scale", f"deployment/{UPSTREAM}", "--replicas=1")
    open_namespace.until("one pod runs calls", lambda: len(who_ran(ledgers, 60)) == 1)
    stop(open_namespace)
    ledgers.assert_nothing_was_lost()


@pytest.mark.covers("B-277")
def test_a_pod_that_is_not_ready_gets_no_calls_until_it_is_again(open_namespace: Namespace) -> None:
    ledgers = calling(open_namespace, replicas=2)
    open_namespace.until("both run calls", lambda: len(who_ran(ledgers, 40)) == 2)
    unready = open_namespace.all("pods", f"app={UPSTREAM}")[0]["metadata"]["name"]
    open_namespace.python(unready, UPSTREAM, "import pathlib; pathlib.Path('/tmp/unready').touch()")
    open_namespace.until("it gets no calls", lambda: unready not in who_ran(ledgers, 40))
    open_namespace.python(unready, UPSTREAM, "import pathlib; pathlib.Path('/tmp/unready').unlink()")
    open_namespace.until("it gets calls", lambda: unready in who_ran(ledgers, 40))
    stop(open_namespace)
    ledgers.assert_nothing_was_lost()


@pytest.mark.covers("B-277")
def test_a_deleted_server_is_made_up_for_by_the_others(open_namespace: Namespace) -> None:
    ledgers = calling(open_namespace, replicas=2)
    deleted = open_namespace.all("pods", f"app={UPSTREAM}")[0]["metadata"]["name"]
    open_namespace.kubectl("delete", "pod", deleted)
    open_namespace.rolled_out(UPSTREAM)
    open_namespace.until("two others run calls", lambda: len(who_ran(ledgers, 40) - {deleted}) == 2)
    stop(open_namespace)
    ledgers.assert_nothing_was_lost()


@pytest.mark.covers("B-273", "B-277")
def test_a_rolling_update_of_servers_that_were_found_loses_no_call(open_namespace: Namespace) -> None:
    ledgers = calling(open_namespace, replicas=2)
    before = who_ran(ledgers, 20)
    second, _ = server(UPSTREAM, replicas=2, image_version=2)
    open_namespace.apply(keeping_ledgers(ledgers.folder, second))
    open_namespace.rolled_out(UPSTREAM)
    open_namespace.until("only new ones run calls", lambda: not who_ran(ledgers, 40) & before)
    stop(open_namespace)
    ledgers.assert_nothing_was_lost()


@pytest.mark.covers("B-277")
def test_a_service_that_is_no_longer_there_is_no_longer_a_server(open_namespace: Namespace) -> None:
    ledgers = calling(open_namespace)
    open_namespace.kubectl("delete", "service", UPSTREAM)
    open_namespace.until("calls are refused", lambda: ledgers.ids("failed"))
    refused = next(line for line in ledgers.lines() if line["what"] == "failed")
    assert refused["execution"].lower().endswith("none")
    _, service = server(UPSTREAM)
    answered = len(ledgers.ids("got"))
    open_namespace.apply(service)
    open_namespace.until("calls are answered again", lambda: len(ledgers.ids("got")) > answered + 20)


@pytest.mark.covers("B-278")
def test_without_permission_the_sidecar_says_what_to_do_and_stays_up(namespace: Namespace) -> None:
    namespace.apply(agent(AGENT))
    namespace.until_ready(AGENT)

    def complaint() -> str:
        lines = namespace.logs(AGENT, CONTAINER).splitlines()
        return next((line for line in lines if "forbidden" in line), "")

    said = namespace.until("the sidecar complains", complaint)
    assert "list and watch on endpointslices" in said
    assert namespace.name in said
    namespace.apply(*may_discover(namespace.name), *server(UPSTREAM))
    namespace.until("the server is found", lambda: '"got"' in namespace.logs(AGENT, AGENT))


@pytest.mark.alone
@pytest.mark.covers("B-279")
def test_calls_go_on_and_changes_are_heard_after_the_api_server_was_down(open_namespace: Namespace) -> None:
    ledgers = calling(open_namespace)
    with without(open_namespace.cluster.layout, "kube-apiserver"):
        answered = len(ledgers.ids("got"))
        open_namespace.until("calls go on", lambda: len(ledgers.ids("got")) > answered + 100)
    scale = ["scale", f"deployment/{UPSTREAM}", "--replicas=3"]
    open_namespace.until("the API server is back", lambda: open_namespace.kubectl(*scale))
    open_namespace.until("three pods run calls", lambda: len(who_ran(ledgers, 60)) == 3, seconds=150)
    stop(open_namespace)
    ledgers.assert_nothing_was_lost()

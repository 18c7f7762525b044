"""A pod is deleted: the agent ends first and keeps its sidecar until then, whatever the grace period is."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from tests.cluster.kubectl import Json, Namespace
from tests.cluster.ledgers import Ledgers
from tests.cluster.manifests import CONTAINER, address, agent, keeping_ledgers, server

UPSTREAM = "record"


def run(namespace: Namespace, calling: Json) -> Ledgers:
    """A server and an agent that both keep ledgers; returns these after the first answers."""
    ledgers = Ledgers(namespace)
    serving, service = server(UPSTREAM)
    namespace.apply(keeping_ledgers(ledgers.folder, serving), service)
    namespace.rolled_out(UPSTREAM)
    namespace.apply(keeping_ledgers(ledgers.folder, calling))
    namespace.until("twenty answers", lambda: len(ledgers.ids("got")) >= 20)
    return ledgers


@pytest.mark.covers("B-272")
@pytest.mark.parametrize("grace", [2, 30])
def test_a_deleted_agent_has_an_answer_for_every_call_it_made(open_namespace: Namespace, grace: int) -> None:
    # Calls take a third of a second, and the agent goes on calling for half a second after it was told to end.
    busy = {"CALLERS": 4, "SECONDS": 0.3, "LINGER": 0.5}
    ledgers = run(open_namespace, agent("agent", upstream=address(UPSTREAM), grace=grace, agent=busy))
    open_namespace.kubectl("delete", "pod", "agent", "--wait=false")
    open_namespace.until_gone("pods", "agent")
    ledgers.assert_nothing_was_lost()
    told = ledgers.moment("agent told to end")
    assert any(line["at"] > told for line in ledgers.lines() if line["what"] == "got")
    assert ledgers.moment("agent ended") > told


@pytest.mark.covers("B-272")
def test_without_any_grace_no_answer_is_untrue_and_no_call_runs_twice(open_namespace: Namespace) -> None:
    ledgers = run(open_namespace, agent("agent", upstream=address(UPSTREAM), agent={"CALLERS": 4}))
    open_namespace.kubectl("delete", "pod", "agent", "--grace-period=0", "--force", "--wait=false")
    open_namespace.until_gone("pods", "agent")
    ran = ledgers.ids("ran")
    assert {*ledgers.ids("got")} <= {*ran}
    assert len(ran) == len({*ran})


@pytest.mark.covers("B-272")
def test_the_sidecar_is_told_to_end_after_the_agent_has_ended(open_namespace: Namespace) -> None:
    ledgers = run(open_namespace, agent("agent", upstream=address(UPSTREAM), agent={"LINGER": 1}))
    logged = deleted(open_namespace)
    assert ledgers.moment("agent ended") < logged["signal"]
    assert "stopped" in logged


@pytest.mark.covers("B-272")
def test_a_pre_stop_hook_drains_while_the_agent_still_runs(open_namespace: Namespace) -> None:
    calling = agent("agent", upstream=address(UPSTREAM), agent={"LINGER": 1})
    hook = {"exec": {"command": ["mcp-sidecar", "drain", "--wait", "20"]}}
    calling["spec"]["initContainers"][0]["lifecycle"] = {"preStop": hook}
    ledgers = run(open_namespace, calling)
    logged = deleted(open_namespace)
    assert logged["draining"] < ledgers.moment("agent ended") < logged["signal"]


def deleted(namespace: Namespace) -> dict[str, float]:
    """Delete the agent. Returns when its sidecar logged what."""
    with namespace.following("agent", CONTAINER) as log:
        namespace.kubectl("delete", "pod", "agent", "--wait=false")
        namespace.until_gone("pods", "agent")
        lines = [json.loads(line) for line in log() if line.startswith("{")]
    return {line["event"]: datetime.fromisoformat(line["time"]).timestamp() for line in lines}

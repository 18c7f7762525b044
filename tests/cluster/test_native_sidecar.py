"""A sidecar that was written into a pod by hand: started before the agent, probed by the kubelet, restarted alone."""

from __future__ import annotations

import json

import pytest

from tests.cluster.kubectl import Json, Namespace, container_status
from tests.cluster.manifests import AGENT, CONTAINER, address, agent, pod_spec, program, server, sidecar

UPSTREAM = "record"


def said(namespace: Namespace, pod: str, container: str = AGENT) -> list[Json]:
    """The ledger of an agent or a server, as its log has it."""
    lines = namespace.logs(pod, container).splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def got(namespace: Namespace, pod: str) -> set[str]:
    return {line["id"] for line in said(namespace, pod) if line["what"] == "got"}


def started_at(namespace: Namespace, pod: str, container: str) -> str:
    state = container_status(namespace.get("pods", pod), container)["state"]
    return str(state["running"]["startedAt"])


@pytest.mark.covers("B-270")
@pytest.mark.parametrize("way", ["grpc", "http"])
def test_an_agent_calls_tools_of_a_service_through_its_sidecar(namespace: Namespace, way: str) -> None:
    namespace.apply(*server(UPSTREAM), agent("agent", upstream=address(UPSTREAM), agent={"WAY": way}))
    namespace.until_ready("agent")
    namespace.until("ten answers", lambda: len(got(namespace, "agent")) >= 10)
    answered = got(namespace, "agent")
    ran = {line["id"] for line in said(namespace, f"deployment/{UPSTREAM}", UPSTREAM) if line["what"] == "ran"}
    assert answered <= ran


@pytest.mark.covers("B-270")
def test_the_kubelet_starts_the_agent_when_the_startup_probe_has_passed(namespace: Namespace) -> None:
    namespace.apply(agent("agent", upstream=address("nobody")))
    pod = namespace.until_ready("agent")
    beside = container_status(pod, CONTAINER)
    assert beside["started"] and beside["ready"]
    # No server answers, and the pod is Ready all the same: one that is down must not take its agents with it.
    assert container_status(pod, AGENT)["ready"]
    assert started_at(namespace, "agent", CONTAINER) <= started_at(namespace, "agent", AGENT)


@pytest.mark.covers("B-270")
def test_the_agent_waits_while_the_sidecar_is_not_started(namespace: Namespace) -> None:
    broken = sidecar(MCP_SIDECAR_UPSTREAMS="record=http://record:8080/mcp", MCP_SIDECAR_LISTEN_HEALTH="127.0.0.1:15081")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent"}}
    namespace.apply({**pod, "spec": pod_spec(program(AGENT), before=(broken,))})

    def refused() -> bool:
        return any("Startup probe failed" in event["message"] for event in namespace.all("events"))

    namespace.until("the kubelet sees that nobody answers on the pod's address", refused)
    waiting = container_status(namespace.get("pods", "agent"), AGENT)["state"]
    assert waiting["waiting"]["reason"] == "PodInitializing"


@pytest.mark.covers("B-271")
def test_a_sidecar_that_is_killed_is_restarted_alone_and_the_agent_goes_on(namespace: Namespace) -> None:
    namespace.apply(*server(UPSTREAM), agent("agent", upstream=address(UPSTREAM)))
    namespace.until_ready("agent")
    namespace.until("an answer", lambda: got(namespace, "agent"))
    before = container_status(namespace.get("pods", "agent"), AGENT)["containerID"]
    namespace.python("agent", CONTAINER, "import os, signal; os.kill(1, signal.SIGTERM)")

    def restarted() -> bool:
        beside = container_status(namespace.get("pods", "agent"), CONTAINER)
        return bool(beside["restartCount"] == 1 and beside["ready"])

    namespace.until("the sidecar runs again", restarted)
    answered = got(namespace, "agent")
    namespace.until("more answers than before", lambda: got(namespace, "agent") > answered)
    assert container_status(namespace.get("pods", "agent"), AGENT)["containerID"] == before


@pytest.mark.covers("B-271")
def test_a_job_with_a_native_sidecar_completes(namespace: Namespace) -> None:
    beside = sidecar(MCP_SIDECAR_UPSTREAMS=f"record={address(UPSTREAM)}")
    worker = program(AGENT, CALLS=5)
    template = {"spec": pod_spec(worker, before=(beside,), restartPolicy="Never")}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "job"}, "spec": {"template": template}}
    namespace.apply(*server(UPSTREAM))
    namespace.rolled_out(UPSTREAM)
    namespace.apply(job)
    namespace.until("the job is complete", lambda: namespace.get("jobs", "job")["status"].get("succeeded"))
    assert [line["what"] for line in said(namespace, "job/job")].count("got") == 5

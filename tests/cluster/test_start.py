"""`start.require`: the agent is not started before the tools it needs are there."""

from __future__ import annotations

import pytest

from tests.cluster.kubectl import Namespace, container_status
from tests.cluster.manifests import AGENT, address, agent, server

UPSTREAM = "record"


@pytest.mark.covers("B-270")
def test_the_agent_starts_when_the_tools_that_are_required_are_there(namespace: Namespace) -> None:
    namespace.apply(agent(AGENT, upstream=address(UPSTREAM), MCP_SIDECAR_START_REQUIRE=UPSTREAM))

    def probed() -> bool:
        return any("Startup probe failed" in event["message"] for event in namespace.all("events"))

    namespace.until("the kubelet has asked, and heard that it is not started", probed)
    waiting = container_status(namespace.get("pods", AGENT), AGENT)["state"]
    assert waiting["waiting"]["reason"] == "PodInitializing"
    namespace.apply(*server(UPSTREAM))
    namespace.until_ready(AGENT)
    namespace.until("the first call is answered", lambda: '"got"' in namespace.logs(AGENT, AGENT))
    assert '"failed"' not in namespace.logs(AGENT, AGENT)

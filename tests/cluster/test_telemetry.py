"""What a collector in the cluster gets from an injected pod and scrapes there is in the ledgers of agent and server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hack.kube.image import COLLECTOR, SIDECAR
from hack.kube.layout import NODE
from mcp_sidecar.injection.template import METRICS_PORT
from tests.cluster.kubectl import Json, Namespace
from tests.cluster.ledgers import Ledgers
from tests.cluster.manifests import (
    AGENT,
    CONTAINER,
    address,
    environment,
    keeping_ledgers,
    pod,
    pod_spec,
    program,
    server,
)
from tests.otel.arrived import CLIENT, SERVER, Arrived
from tests.otel.collector import SCRAPED, configuration, scraping

UPSTREAM = "record"
RECEIVER = "collector"
CALLS = 20
PORTS = (4317, 4318)
SERVED = "mcp_server_operation_duration_seconds"
ENOUGH = "enough"
"""A file among the ledgers: the agent may end."""


def collector(folder: Path) -> list[Json]:
    """A collector and its Service; what it gets, and what it scrapes from the agent, is in `folder` on the node."""
    place = Path("/ledgers")
    config = scraping(configuration(place, host="0.0.0.0:", ports=PORTS), place, f"{AGENT}:{METRICS_PORT}")
    container = {
        "name": RECEIVER,
        "image": COLLECTOR,
        "imagePullPolicy": "Never",
        "args": ["--config=env:COLLECTOR_CONFIG"],
        "env": environment(COLLECTOR_CONFIG=json.dumps(config)),
        "readinessProbe": {"tcpSocket": {"port": PORTS[0]}, "periodSeconds": 1},
    }
    labels = {"app": RECEIVER}
    ports = [{"name": name, "port": port} for name, port in zip(("grpc", "http"), PORTS, strict=True)]
    service = services(RECEIVER, {"selector": labels, "ports": ports})
    return [keeping_ledgers(folder, pod(RECEIVER, pod_spec(container), labels=labels)), service]


def services(name: str, spec: Json) -> Json:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def injected(workload: Json, way: str) -> Json:
    """The pod with a sidecar that tells the collector everything, by `grpc` or by `http`."""
    endpoint = f"http://{RECEIVER}:{PORTS[way == 'http']}"
    command = [sys.executable, "-m", "mcp_sidecar", "inject", "--image", SIDECAR, "--pull-policy", "Never"]
    told = ["--otlp-endpoint", endpoint, "--env", "OTEL_TRACES_SAMPLER=always_on", "--env", "OTEL_LOGS_EXPORTER=otlp"]
    words = [*command, *told, "-f", "-"]
    done = subprocess.run(words, input=json.dumps(workload), capture_output=True, text=True, check=True, timeout=60)
    found: Json = json.loads(done.stdout)
    return found


def calling(folder: Path, way: str) -> list[Json]:
    """A pod whose agent calls so often, and ends when it was enough; its sidecar tells then what is left to tell.

    Its Service has no address of its own: the name leads to the pod.
    """
    labels, annotations = {"app": AGENT}, {"mcp-sidecar.dev/upstreams": f"{UPSTREAM}={address(UPSTREAM)}"}
    agent = program(AGENT, CALLS=CALLS, PAUSE=0.01, SERVER=UPSTREAM, STAY=f"/ledgers/{ENOUGH}")
    workload = pod(AGENT, pod_spec(agent, restartPolicy="Never"), labels=labels, annotations=annotations)
    headless = services(AGENT, {"selector": labels, "clusterIP": "None"})
    return [keeping_ledgers(folder, injected(workload, way)), headless]


@pytest.mark.covers("B-346")
@pytest.mark.parametrize("way", ["grpc", "http"])
def test_a_collector_in_the_cluster_gets_what_an_injected_pod_did(open_namespace: Namespace, way: str) -> None:
    namespace, ledgers = open_namespace, Ledgers(open_namespace)
    serving = [
        keeping_ledgers(ledgers.folder, each) if "template" in each["spec"] else each for each in server(UPSTREAM)
    ]
    namespace.apply(*serving, *collector(ledgers.folder))
    namespace.rolled_out(UPSTREAM)
    namespace.until_ready(RECEIVER)
    namespace.apply(*calling(ledgers.folder, way))
    namespace.until("a scrape after the last call", lambda: scraped_calls(ledgers.folder) >= CALLS)
    (ledgers.folder / ENOUGH).touch()
    ended = namespace.until("the agent's pod has ended", lambda: succeeded(namespace.get("pods", AGENT)))
    namespace.until("all spans", lambda: len(Arrived(ledgers.folder).spans) >= 2 * CALLS)
    namespace.kubectl("delete", "pod", RECEIVER, "--wait")  # what it has, it has written when it is gone
    ledgers.assert_nothing_was_lost()
    assert len(ledgers.ids("got")) == CALLS
    assert_told(Arrived(ledgers.folder), ended)
    assert_scraped(Arrived(ledgers.folder, SCRAPED))


def scraped_calls(folder: Path) -> int:
    return sum(Arrived(folder, SCRAPED).counts(SERVED).values())


def succeeded(found: Json) -> Json | None:
    return found if found["status"]["phase"] == "Succeeded" else None


def assert_told(arrived: Arrived, ended: Json) -> None:
    """Each call is a trace of two spans, a sample of each histogram, and a record; all of this pod."""
    traces = [arrived.of(trace) for trace in {span.trace for span in arrived.spans}]
    assert [[span.kind for span in spans] for spans in traces] == [[SERVER, CLIENT]] * CALLS
    assert {span.name for span in arrived.spans} == {f"tools/call {UPSTREAM}"}
    for name in ("mcp.server.operation.duration", "mcp.client.operation.duration"):
        assert arrived.counts(name, "gen_ai.tool.name", "error.type")[UPSTREAM, ""] == CALLS
    assert len(arrived.records) == CALLS
    metadata = ended["metadata"]
    told = {
        "k8s.pod.name": metadata["name"],
        "k8s.pod.uid": metadata["uid"],
        "k8s.namespace.name": metadata["namespace"],
        "k8s.node.name": NODE,
        "k8s.container.name": CONTAINER,
    }
    for resource in arrived.resources:
        assert told.items() <= resource.items()


def assert_scraped(arrived: Arrived) -> None:
    """The pod's page had each call in each of its series, and nothing else."""
    served = arrived.counts(SERVED, "server", "tool", "code", "error")
    assert served == {(UPSTREAM, UPSTREAM, "OK", ""): CALLS}
    sent = arrived.counts("mcp_client_operation_duration_seconds", "server", "tool", "error")
    assert sent[UPSTREAM, UPSTREAM, ""] == CALLS
    # The kubelet's probes are RPCs as well, and calls without an MCP method.
    rpcs = arrived.counts("rpc_server_call_duration_seconds", "rpc_method", "code")
    assert rpcs["mcp_sidecar.v1.MCPEngine/CallTool", "OK"] == CALLS
    assert sum(arrived.counts("mcp_sidecar_calls_total").values()) == sum(rpcs.values())
    assert {resource["service.instance.id"] for resource in arrived.resources} == {f"{AGENT}:{METRICS_PORT}"}

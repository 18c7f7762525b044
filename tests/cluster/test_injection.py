"""Four ways to a sidecar (policy, webhook, `mcp-sidecar inject`, kustomize): the same container, in pods that run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hack.kube.image import SIDECAR
from tests.cluster.kubectl import Cluster, Json, Namespace
from tests.cluster.manifests import AGENT, CONTAINER, PORT, address, environment, pod_spec, program, server
from tests.cluster.namespaces import made
from tests.cluster.releases import CHART, release

UPSTREAM = "record"
LABEL = "mcp-sidecar.dev/inject"
APP_PORT = "mcp-sidecar.dev/app-port"
COMPONENTS = CHART.parents[1] / "kustomize" / "components"

Way = Callable[[Cluster, Json, Path], str]

# One release at a time can be on the cluster.
pytestmark = pytest.mark.xdist_group("releases")


def by_cli(cluster: Cluster, workload: Json, folder: Path) -> str:
    command = [sys.executable, "-m", "mcp_sidecar", "inject", "--image", SIDECAR, "--pull-policy", "Never"]
    done = subprocess.run(
        [*command, "-f", "-"], input=json.dumps(workload), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def by_kustomize(cluster: Cluster, workload: Json, folder: Path) -> str:
    image, tag = SIDECAR.rsplit(":", 1)
    (folder / "agent.json").write_text(json.dumps(workload))
    annotations = workload["spec"]["template"]["metadata"].get("annotations", {})
    role = "sidecar-inbound" if APP_PORT in annotations else "sidecar"
    shutil.copytree(COMPONENTS / role, folder / "component")
    kustomization = {
        "resources": ["agent.json"],
        "components": ["component"],
        "images": [{"name": "mcp-sidecar", "newName": image, "newTag": tag}],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization))
    return cluster.kubectl("kustomize", str(folder))


def by_admission(cluster: Cluster, workload: Json, folder: Path) -> str:
    return json.dumps(workload)


WAYS: dict[str, Way] = {"policy": by_admission, "webhook": by_admission, "cli": by_cli, "kustomize": by_kustomize}


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[str]:
    """The name of a way, with the release on the cluster that it takes."""
    if WAYS[request.param] is not by_admission:
        yield request.param
        return
    with made(cluster, "mcp-sidecar-system") as system:
        with release(cluster, system.name, injection={"mode": request.param}):
            yield request.param


def deployment(**more: Any) -> Json:
    """An agent that knows nothing of a sidecar, except that it wants one."""
    labels = {"app": AGENT, LABEL: "true"}
    annotations = {"mcp-sidecar.dev/upstreams": f"record={address(UPSTREAM)}"}
    template = {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod_spec(program(AGENT), **more)}
    spec = {"selector": {"matchLabels": {"app": AGENT}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": AGENT, "labels": labels}, "spec": spec}


def injected(pod: Json) -> list[Json]:
    """The sidecars of a pod."""
    return [each for each in pod["spec"].get("initContainers", []) if each["name"] == CONTAINER]


@pytest.fixture(scope="module")
def containers() -> dict[str, Json]:
    """What each way has put into a pod so far."""
    return {}


@pytest.mark.covers("B-274")
def test_a_labelled_workload_gets_a_sidecar_that_works(
    way: str, namespace: Namespace, tmp_path: Path, containers: dict[str, Json]
) -> None:
    namespace.apply(*server(UPSTREAM))
    namespace.kubectl("apply", "-f", "-", stdin=WAYS[way](namespace.cluster, deployment(), tmp_path))
    namespace.rolled_out(AGENT)
    namespace.until("an answer", lambda: '"got"' in namespace.logs(f"deployment/{AGENT}", AGENT))

    (pod,) = namespace.all("pods", f"app={AGENT}")
    (container,) = injected(pod)
    assert pod["metadata"]["annotations"]["mcp-sidecar.dev/injected-by"] == way
    container["image"], container["imagePullPolicy"] = "", ""
    # The API server adds the token of the pod's own account under a name of its own for each pod.
    mounts = [mount for mount in container["volumeMounts"] if not mount["name"].startswith("kube-api-access-")]
    containers[way] = {**container, "volumeMounts": mounts}
    assert all(other == containers[way] for other in containers.values()), containers


@pytest.mark.covers("B-274")
def test_a_job_that_was_injected_completes(way: str, namespace: Namespace, tmp_path: Path) -> None:
    template = deployment(restartPolicy="Never")["spec"]["template"]
    template["spec"]["containers"][0]["env"] += environment(CALLS=3)
    labels = {LABEL: "true"}
    spec = {"template": template, "backoffLimit": 0}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": AGENT, "labels": labels}, "spec": spec}
    namespace.apply(*server(UPSTREAM))
    namespace.rolled_out(UPSTREAM)
    namespace.kubectl("apply", "-f", "-", stdin=WAYS[way](namespace.cluster, job, tmp_path))
    namespace.until("the job is complete", lambda: namespace.get("jobs", AGENT)["status"].get("succeeded"))


@pytest.mark.covers("B-274")
def test_a_server_that_names_its_port_gets_a_sidecar_in_front(way: str, namespace: Namespace, tmp_path: Path) -> None:
    annotations = {APP_PORT: str(PORT)}
    serving, _ = server(UPSTREAM)
    serving["metadata"]["labels"] = {LABEL: "true"}
    serving["spec"]["template"]["metadata"]["labels"][LABEL] = "true"
    serving["spec"]["template"]["metadata"]["annotations"] = annotations
    namespace.kubectl("apply", "-f", "-", stdin=WAYS[way](namespace.cluster, serving, tmp_path))
    namespace.rolled_out(UPSTREAM)
    (pod,) = namespace.all("pods", f"app={UPSTREAM}")
    (container,) = injected(pod)
    assert {"mcp", "mcp-grpc"} <= {port["name"] for port in container["ports"]}
    assert "preStop" in container["lifecycle"]

"""What is injected is what Kubernetes knows, field by field, and what Pod Security *restricted* lets in."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mcp_sidecar.injection.manifest import inject
from mcp_sidecar.injection.template import Options
from mcp_sidecar.injection.vocabulary import ANNOTATIONS
from tests.injection.admitting import pod
from tests.injection.test_manifest import CRON_JOB
from tests.support.kube_schemas import complaints

EVERYTHING = {annotation.key: annotation.example for annotation in ANNOTATIONS.values()}
OF_RESTRICTED_PODS = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected"}


def injected(of: dict[str, Any], **options: Any) -> dict[str, Any]:
    after: dict[str, Any] = yaml.safe_load(inject(yaml.safe_dump(of), Options(**options), {}).text)
    return after


@pytest.mark.covers("B-247")
@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
def test_every_field_is_one_that_kubernetes_knows(version: str) -> None:
    cron_job = yaml.safe_load(CRON_JOB)
    objects = [
        injected(one, mode=mode) for one in (pod(), pod(EVERYTHING), cron_job) for mode in ("native", "container")
    ]
    assert complaints(objects, version) == []


@pytest.mark.covers("B-247")
@pytest.mark.parametrize("said", [{}, EVERYTHING])
def test_the_container_passes_pod_security_restricted(said: dict[str, str]) -> None:
    spec = injected(pod(said), otlp_endpoint="http://$(HOST_IP):4317")["spec"]
    (sidecar,) = spec["initContainers"]
    security = sidecar["securityContext"]
    assert security["allowPrivilegeEscalation"] is False and security["runAsNonRoot"] is True
    assert security["runAsUser"] != 0 and security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not any("hostPort" in port for port in sidecar["ports"])
    assert {key for volume in spec["volumes"] for key in volume if key != "name"} <= OF_RESTRICTED_PODS


def test_names_of_ports_are_no_longer_than_kubernetes_takes() -> None:
    (sidecar,) = injected(pod(EVERYTHING))["spec"]["initContainers"]
    assert {port["name"]: port["containerPort"] for port in sidecar["ports"]} == {
        "mcp-health": 15081,
        "mcp-metrics": 15090,
        "mcp": 15080,
        "mcp-grpc": 15051,
    }
    assert all(len(port["name"]) <= 15 for port in sidecar["ports"])

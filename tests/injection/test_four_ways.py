"""Policy, webhook, `inject` and the kustomize Components give the same pod the same sidecar."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mcp_sidecar.config import load
from mcp_sidecar.injection.manifest import inject
from mcp_sidecar.injection.template import Options
from mcp_sidecar.injection.vocabulary import ANNOTATIONS
from tests.injection.admitting import Pod, admitted, patched, pod
from tests.injection.serving import webhook
from tests.injection.test_admission import review

COMPONENTS = Path(__file__).resolve().parents[2] / "deploy/kustomize/components"
ANNOTATED = {
    "nothing said": {},
    "in front of an app": {"app-port": "8000"},
    "servers by name": {"upstreams": "weather=http://weather/mcp"},
    "a configuration of its own": {"config": "agent-mcp"},
    "in front of an app, with a configuration": {"app-port": "8000", "config": "agent-mcp"},
    "everything": {name: annotation.example for name, annotation in ANNOTATIONS.items()},
}


def before(said: dict[str, str], **spec: Any) -> Pod:
    return pod({ANNOTATIONS[name].key: value for name, value in said.items()}, **spec)


def by_policy(of: Pod) -> Pod:
    policy, *_ = yaml.safe_load_all((COMPONENTS / "policy/policy.yaml").read_text())
    return admitted(policy, of)


def by_command(of: Pod) -> Pod:
    after: Pod = yaml.safe_load(inject(yaml.safe_dump(of), Options(), {}).text)
    return after


async def by_webhook(of: Pod, folder: Path) -> Pod:
    async with webhook(folder) as hook:
        said = await hook.review(review(of))
    return patched(of, json.loads(base64.b64decode(said["patch"])))


def by_component(role: str, file: str) -> dict[str, Any]:
    patch = yaml.safe_load((COMPONENTS / role / file).read_text())
    if file == "json6902.yaml":
        return {"spec": {step["path"].rpartition("/")[2]: step["value"] for step in patch}, "metadata": None}
    template = patch["spec"]["jobTemplate"]["spec"] if file == "cronjob.yaml" else patch["spec"]
    found: dict[str, Any] = template["template"]
    return found


def alike(after: Pod) -> Pod:
    """Without the one thing that differs: who did it."""
    annotations = {k: v for k, v in after["metadata"]["annotations"].items() if k != "mcp-sidecar.dev/injected-by"}
    return {**after, "metadata": {**after["metadata"], "annotations": annotations}}


@pytest.mark.covers("B-240", "B-246")
@pytest.mark.parametrize("said", ANNOTATED.values(), ids=list(ANNOTATED))
async def test_policy_webhook_and_command_make_the_same_pod(said: dict[str, str], tmp_path: Path) -> None:
    others = {"initContainers": [{"name": "i", "image": "i:1"}], "volumes": [{"name": "v", "emptyDir": {}}]}
    specs: list[dict[str, Any]] = [{}, others, {"terminationGracePeriodSeconds": 600}]
    for number, spec in enumerate(specs):
        of = before(said, **spec)
        made = by_command(of)
        assert alike(by_policy(of)) == alike(made)
        assert alike(await by_webhook(of, tmp_path / str(number))) == alike(made)


@pytest.mark.covers("B-240")
@pytest.mark.parametrize("file", ["workload.yaml", "cronjob.yaml", "json6902.yaml"])
@pytest.mark.parametrize(("role", "said"), [("sidecar", {}), ("sidecar-inbound", {"app-port": "8000"})])
def test_the_components_have_the_same_container_and_volumes(role: str, said: dict[str, str], file: str) -> None:
    made, component = by_command(before(said)), by_component(role, file)
    assert component["spec"]["initContainers"] == made["spec"]["initContainers"]
    assert component["spec"]["volumes"] == made["spec"]["volumes"]


def environment(of: Pod) -> dict[str, str]:
    """What the kubelet would put into the sidecar's environment."""
    said, known = of["metadata"]["annotations"], dict[str, str]()
    fields = {"metadata.name": "agent", "metadata.namespace": "agents", "status.hostIP": "10.0.0.1"}
    for one in of["spec"]["initContainers"][0]["env"]:
        if "value" in one:
            value = one["value"]
            for name, earlier in known.items():
                value = value.replace(f"$({name})", earlier)
        else:
            path = one["valueFrom"]["fieldRef"]["fieldPath"]
            value = said.get(path.partition("'")[2].rstrip("']"), "") if "annotations" in path else fields.get(path, "")
        known[one["name"]] = value
    return known


@pytest.mark.covers("B-245")
def test_the_sidecar_understands_what_it_is_told_beside_an_agent() -> None:
    loaded = load(
        None, environment(by_command(before({"upstreams": "weather=http://weather/mcp", "log-level": "debug"}))), {}
    )
    settings = loaded.settings
    assert [(one.name, one.url) for one in settings.upstreams] == [("weather", "http://weather/mcp")]
    assert settings.listen.grpc == ("127.0.0.1:15051",) and settings.listen.http == "127.0.0.1:15080"
    assert (settings.drain.lame_duck, settings.drain.grace, settings.log.level) == (0, 15, "debug")
    assert loaded.pod_grace == 30


@pytest.mark.covers("B-245")
def test_the_sidecar_understands_what_it_is_told_in_front_of_a_server() -> None:
    told = environment(by_command(before({"app-port": "8000", "upstreams": "weather=http://weather/mcp"})))
    told["MCP_SIDECAR_AUTH_MODE"] = "none"  # who may call is looked at below
    settings = load(None, told, {}).settings
    assert [one.url for one in settings.upstreams] == ["http://127.0.0.1:8000/mcp", "http://weather/mcp"]
    assert settings.listen.grpc == ("0.0.0.0:15051",) and settings.listen.http == "0.0.0.0:15080"
    assert settings.drain.lame_duck == 5 and settings.http.allowed_hosts == ("*",)


@pytest.mark.covers("B-246")
@pytest.mark.parametrize(
    ("said", "grace"), [({}, "15s"), ({"config": "c"}, None), ({"config": "c", "drain-seconds": "7"}, "7s")]
)
def test_a_configuration_file_is_overruled_by_annotations_only(said: dict[str, str], grace: str | None) -> None:
    assert environment(by_command(before(said))).get("MCP_SIDECAR_DRAIN_GRACE") == grace


@pytest.mark.covers("B-245")
def test_a_sidecar_on_the_network_asks_who_calls() -> None:
    told = environment(by_command(before({"app-port": "8000"})))
    assert (told["MCP_SIDECAR_AUTH_MODE"], told["MCP_SIDECAR_AUTH_AUDIENCE"]) == ("kubernetes", "mcp-sidecar.dev")

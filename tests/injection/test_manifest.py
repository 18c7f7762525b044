"""Manifests as people write them, with sidecars put in and taken out."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from mcp_sidecar.injection.manifest import Result, Unreadable, inject, uninject
from mcp_sidecar.injection.template import Options

OPTIONS = Options(image="mcp-sidecar:test")

DEPLOYMENT = """\
# The web tier.
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}  # in one line
spec:
  replicas: 2\t# a tab before this comment
  template:
    metadata:
      labels: &labels
        app: web
    spec:
      # the application
      containers:
      - name: app
        image: "app:1"
        args:
          - |
            several
            lines

          - last   # and a comment
      # at the end
"""
CRON_JOB = """\
apiVersion: batch/v1
kind: CronJob
metadata:
  name: tick
spec:
  schedule: "* * * * *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          volumes:
            - name: data
              emptyDir: {}
          initContainers:   # in this order
          # waits for the database
          - name: wait
            image: wait:1
          containers: [{name: a, image: a:1}]
"""
POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: one
  annotations:
    example.com/a: b
spec:
  containers:
    - image: app:1
      name: app"""
STATEFUL_SET = """\
kind: StatefulSet
apiVersion: apps/v1
spec:
    template:
        spec:
            terminationGracePeriodSeconds: 600
            containers:
            -   name: app
                command: [a,
                  b]
        metadata:
            annotations:
            labels: {}
metadata:
    name: 'quoted'
"""
UNKNOWN = """\
apiVersion: example.com/v1
kind: Deployment
spec: !Ref {template: [1, &a two, *a], <<: {x: y}}
"""
LIST = """\
apiVersion: v1
kind: List
items:
- apiVersion: apps/v1
  kind: DaemonSet
  metadata: {name: a}
  spec:
    template:
      spec:
        containers:
        - name: app
- kind: ConfigMap
  apiVersion: v1
- {apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: b}, spec: {template: {spec: {containers: [{name: c}]}}}}
"""
EVERYTHING = f"{DEPLOYMENT}---\n{CRON_JOB}---\n# nothing here\n---\n{UNKNOWN}---\n{STATEFUL_SET}---\n{LIST}---\n{POD}"
MANIFESTS = {
    "deployment": DEPLOYMENT,
    "cronjob": CRON_JOB,
    "pod": POD,
    "pod without annotations": POD.replace("  annotations:\n    example.com/a: b\n", ""),
    "list": LIST,
    "everything": EVERYTHING,
    "windows line ends": EVERYTHING.replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + DEPLOYMENT,
    "json": json.dumps(yaml.load(DEPLOYMENT, Loader=yaml.CSafeLoader)),
    "spread json": json.dumps(yaml.safe_load(LIST), indent=4) + "\n",
    "document marks": f"---   # first\n{POD}\n...\n---\n{DEPLOYMENT}...\n",
}


def injected(text: str, **wishes: str) -> Result:
    return inject(text, OPTIONS, {name.replace("_", "-"): value for name, value in wishes.items()})


def templates(text: str) -> list[dict[str, Any]]:
    """The pods of a text, read without our own reader."""
    return [pod for document in yaml.load_all(text, Loader=_AnyTag) for pod in _pods(document)]


class _AnyTag(yaml.CSafeLoader):
    """Tags of others mean nothing here."""


_AnyTag.add_multi_constructor("!", lambda _loader, _tag, _node: None)


def _pods(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [pod for item in value for pod in _pods(item)]
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("spec"), dict) and "containers" in value["spec"]:
        return [value]
    return [pod for item in value.values() for pod in _pods(item)]


@pytest.mark.covers("B-241")
@pytest.mark.parametrize("title", MANIFESTS)
def test_a_text_keeps_every_byte_and_gets_what_is_added(title: str) -> None:
    before = MANIFESTS[title]
    after = injected(before).text
    assert after != before
    # Where something is put between brackets, the line around it grows.
    blocks = [line for line in before.splitlines() if not line.strip().startswith(("{", "}", "]", '"', "- {"))]
    lines = iter(after.splitlines())
    assert all(line in lines for line in blocks)


@pytest.mark.covers("B-241")
@pytest.mark.parametrize("title", MANIFESTS)
def test_every_pod_has_the_container_its_volume_and_its_annotations(title: str) -> None:
    pods = templates(injected(MANIFESTS[title]).text.removeprefix("\ufeff"))
    assert pods
    for pod in pods:
        assert pod["spec"]["initContainers"][0]["name"] == "mcp-sidecar"
        assert "mcp-sidecar-token" in [volume["name"] for volume in pod["spec"]["volumes"]]
        assert pod["metadata"]["annotations"]["mcp-sidecar.dev/injected-by"] == "cli"


@pytest.mark.covers("B-242")
@pytest.mark.parametrize("title", MANIFESTS)
def test_injecting_twice_is_injecting_once(title: str) -> None:
    once = injected(MANIFESTS[title]).text
    assert injected(once).text == once


@pytest.mark.covers("B-242")
@pytest.mark.parametrize("title", [title for title in MANIFESTS if title not in {"everything", "windows line ends"}])
def test_uninjecting_gives_back_every_byte(title: str) -> None:
    assert uninject(injected(MANIFESTS[title]).text).text == MANIFESTS[title]


@pytest.mark.covers("B-242")
@pytest.mark.parametrize("title", ["everything", "windows line ends"])
def test_uninjecting_takes_a_key_along_that_had_no_value(title: str) -> None:
    expected = MANIFESTS[title].replace("            annotations:\r\n", "").replace("            annotations:\n", "")
    assert uninject(injected(MANIFESTS[title]).text).text == expected


def test_line_ends_are_those_of_the_text() -> None:
    after = injected(MANIFESTS["windows line ends"]).text
    assert after.count("\n") == after.count("\r\n")


def test_a_comment_above_the_first_init_container_stays_with_it() -> None:
    after = injected(CRON_JOB).text
    assert "          # waits for the database\n          - name: wait\n" in after
    assert "initContainers:   # in this order\n          - name: mcp-sidecar\n" in after


def test_the_grace_of_the_pod_is_told_to_the_sidecar() -> None:
    (pod,) = templates(injected(STATEFUL_SET).text)
    env = {one["name"]: one.get("value") for one in pod["spec"]["initContainers"][0]["env"]}
    assert env["MCP_SIDECAR_POD_GRACE_SECONDS"] == "600"


@pytest.mark.covers("B-246")
def test_wishes_become_annotations_where_a_pod_has_none() -> None:
    text = POD.replace("example.com/a: b", "mcp-sidecar.dev/log-level: error")
    (pod,) = templates(injected(text, log_level="debug", upstreams="a=http://a/mcp").text)
    assert pod["metadata"]["annotations"]["mcp-sidecar.dev/log-level"] == "error"
    assert pod["metadata"]["annotations"]["mcp-sidecar.dev/upstreams"] == "a=http://a/mcp"


@pytest.mark.covers("B-244")
def test_for_old_clusters_the_container_is_the_last_beside_the_others() -> None:
    result = inject(DEPLOYMENT, Options(mode="container"), {})
    (pod,) = templates(result.text)
    assert [one["name"] for one in pod["spec"]["containers"]] == ["app", "mcp-sidecar"]
    assert "restartPolicy" not in pod["spec"]["containers"][1]
    assert uninject(result.text).text == DEPLOYMENT


@pytest.mark.covers("B-244")
def test_a_job_that_would_never_end_is_pointed_out() -> None:
    (note,) = inject(CRON_JOB, Options(mode="container"), {}).notes
    assert "will not end" in note.text


@pytest.mark.covers("B-243")
@pytest.mark.parametrize(
    ("change", "word"),
    [
        (("      labels: &labels\n", "      labels:\n        mcp-sidecar.dev/inject: 'false'\n"), "label"),
        (("labels: {app: web}}", "labels: {mcp-sidecar.dev/inject: 'false'}}"), "label"),
        (("    spec:\n", "    spec:\n      hostNetwork: true\n"), "hostNetwork"),
        (("    spec:\n", "    spec:\n      os: {name: windows}\n"), "Windows"),
        (("    spec:\n", "    spec:\n      nodeSelector: {kubernetes.io/os: windows}\n"), "Windows"),
        (("- name: app", "- name: mcp-sidecar"), "a container called mcp-sidecar"),
        (("metadata: {", "metadata: {namespace: kube-system, "), "kube-system"),
    ],
)
def test_what_a_sidecar_does_not_fit_is_left_alone_with_a_word(change: tuple[str, str], word: str) -> None:
    text = DEPLOYMENT.replace(*change)
    assert text != DEPLOYMENT
    result = injected(text)
    assert result.text == text
    assert [(note.title, word in note.text) for note in result.notes] == [("deployment/web", True)]


def test_a_container_that_nobody_injected_is_not_taken_out() -> None:
    text = DEPLOYMENT.replace("- name: app", "- name: mcp-sidecar")
    result = uninject(text)
    assert result.text == text
    assert "was not injected" in result.notes[0].text


@pytest.mark.covers("B-241")
@pytest.mark.parametrize(
    ("text", "document", "line", "words"),
    [
        ("a: b\n---\na: [\n", 2, 4, "not valid YAML"),
        ("a: {{ .Values.x }}\nb: {{\n", 1, 3, "not valid YAML"),
        ("a: *b\n", 1, 1, "no &b before it"),
        ("a: \0\n", 1, 1, "character"),
        (POD.replace("    - image: app:1\n      name: app", "    app:1"), 1, 9, "spec.containers: expected a list"),
        (POD.replace("containers", "volumes"), 1, 8, "spec.containers: expected a list with a container"),
        ("a: b\n---\n" + DEPLOYMENT.replace("template:", "tmpl:"), 2, 8, "spec.template: expected a mapping"),
        (POD.replace("example.com/a: b", "mcp-sidecar.dev/app-port: http"), 1, 6, 'a text like "8000"'),
        (POD.replace("example.com/a: b", "mcp-sidecar.dev/app-port: 8000"), 1, 6, 'a text like "8000"'),
        (
            "a: &a {spec: {containers: [{}]}}\nkind: Job\napiVersion: batch/v1\nspec: {template: *a}\n",
            1,
            4,
            "is an alias",
        ),
        (
            DEPLOYMENT.replace("    spec:\n", "    spec:\n      <<: {volumes: [{name: v}]}\n"),
            1,
            12,
            "comes from a merge",
        ),
    ],
)
def test_what_cannot_be_done_is_said_with_document_line_and_key(
    text: str, document: int, line: int, words: str
) -> None:
    with pytest.raises(Unreadable, match=words) as caught:
        injected(text)
    assert (caught.value.document, caught.value.line) == (document, line)


def test_aliases_that_stand_for_a_billion_things_are_refused() -> None:
    lines = ["a0: &a0 x"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(Unreadable, match="aliases make this more than"):
        injected("\n".join(lines))


def test_what_holds_no_pods_passes_through() -> None:
    for text in ("", "\n", "# only a comment", "---\n---\n", "just text", "[1, 2]", UNKNOWN, "kind: List\nitems: 5\n"):
        assert injected(text) == Result(text, [])

"""A cluster as its users see it: kubectl, with every wait bounded; knows no test and no sidecar."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from hack.kube.layout import Layout

Json = dict[str, Any]
Found = TypeVar("Found")

PATIENCE_SECONDS = 90.0
_COMMAND_SECONDS = 180
_POLL_SECONDS = 0.1


class KubectlFailed(AssertionError):
    """A command failed; the message is what it said on stderr."""


class TooLate(AssertionError):
    """What was waited for did not come; the message says what, and what there was instead."""


class Cluster:
    """The cluster as its administrator sees it."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._tls = ssl.create_default_context(cafile=layout.pki / "ca.crt")
        self._tls.load_cert_chain(layout.pki / "admin.crt", layout.pki / "admin.key")

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl and return what it printed. Raises `KubectlFailed`."""
        return self._run(str(self.layout.programs / "kubectl"), *arguments, stdin=stdin)

    def helm(self, *arguments: str, stdin: str | None = None) -> str:
        """Run helm and return what it printed. Raises `KubectlFailed`."""
        return self._run(str(self.layout.programs / "helm"), *arguments, stdin=stdin)

    def _run(self, *command: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
            env=self.environment(),
        )
        if done.returncode:
            raise KubectlFailed(f"{' '.join(command[1:])}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def environment(self) -> dict[str, str]:
        """What makes kubectl and helm talk to this cluster, and leave no file at home."""
        scratch = str(self.layout.run / "tmp")
        return {"KUBECONFIG": str(self.layout.kubeconfig), "HOME": scratch, "PATH": "/usr/bin:/bin"}

    def apply(self, *objects: Json) -> None:
        """Create or change these objects."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(listed))

    def ask(self, path: str) -> Json:
        """A GET of the API server's. Raises `urllib.error.HTTPError`."""
        with urllib.request.urlopen(self.layout.api + path, context=self._tls, timeout=10) as answer:
            body: Json = json.loads(answer.read())
        return body


class Namespace:
    """One namespace, and what a test does in it."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("--namespace", self.name, *arguments, stdin=stdin)

    def apply(self, *objects: Json) -> None:
        """Create or change these objects in the namespace."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(listed))

    def get(self, kind: str, name: str) -> Json:
        """An object as it is. `kind` as in the API's paths: `pods`, `deployments`, `endpointslices` …"""
        return self.cluster.ask(f"{self._path(kind)}/{name}")

    def all(self, kind: str, selector: str = "") -> list[Json]:
        """The objects with these labels."""
        found: list[Json] = self.cluster.ask(f"{self._path(kind)}?labelSelector={selector}")["items"]
        return found

    def _path(self, kind: str) -> str:
        groups = {"deployments": "apps/v1", "jobs": "batch/v1", "endpointslices": "discovery.k8s.io/v1"}
        group = groups.get(kind)
        return f"{'/apis/' + group if group else '/api/v1'}/namespaces/{self.name}/{kind}"

    def logs(self, pod: str, container: str = "", *more: str) -> str:
        """What the container has printed so far; `pod` may be `deployment/NAME` or `job/NAME`."""
        chosen = ["--container", container] if container else []
        return self.kubectl("logs", pod, *chosen, "--tail=-1", *more)

    @contextlib.contextmanager
    def following(self, pod: str, container: str) -> Iterator[Callable[[], list[str]]]:
        """Read along what the container prints, also when the pod is deleted. Call what you get after it has ended."""
        command = [str(self.cluster.layout.programs / "kubectl"), "-n", self.name, "logs", "-f", pod, "-c", container]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=self.cluster.environment()
        ) as reader:

            def everything() -> list[str]:
                return reader.communicate(timeout=PATIENCE_SECONDS)[0].splitlines()

            try:
                yield everything
            finally:
                reader.kill()

    def python(self, pod: str, container: str, program: str) -> str:
        """Run a program in a container; images have Python, and no shell."""
        return self.kubectl("exec", pod, "--container", container, "--", "python", "-c", program)

    def until(self, what: str, look: Callable[[], Found | None], seconds: float = PATIENCE_SECONDS) -> Found:
        """Look until there is something, and return it. Raises `TooLate`."""
        end = time.monotonic() + seconds
        seen: object = None
        while time.monotonic() < end:
            try:
                if seen := look():
                    return seen
            except (urllib.error.URLError, KubectlFailed, KeyError, IndexError, TimeoutError) as nothing_yet:
                seen = nothing_yet
            time.sleep(_POLL_SECONDS)
        raise TooLate(f"not within {seconds:g} s: {what} (last: {seen!r})")

    def until_ready(self, pod: str, seconds: float = PATIENCE_SECONDS) -> Json:
        """Wait until the pod is Ready; return it."""
        return self.until(f"pod {pod} is Ready", lambda: ready(self.get("pods", pod)), seconds)

    def until_gone(self, kind: str, name: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until the object is no more."""

        def gone() -> bool:
            try:
                self.get(kind, name)
            except urllib.error.HTTPError as missing:
                return missing.code == 404
            return False

        self.until(f"{kind} {name} is gone", gone, seconds)

    def rolled_out(self, deployment: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until every pod of the deployment is new and ready."""
        self.kubectl("rollout", "status", f"deployment/{deployment}", f"--timeout={seconds:g}s")

    def diagnosis(self) -> str:
        """What one would ask for first: events, descriptions, and the logs of every container."""
        asked = [["get", "all,endpointslices", "-o", "wide"], ["get", "events", "--sort-by=.lastTimestamp"]]
        asked.append(["describe", "pods"])
        for pod in self.all("pods"):
            logs = ["logs", pod["metadata"]["name"], "--all-containers", "--prefix", "--tail=60"]
            asked += [logs, [*logs, "--previous"]]
        said = []
        for words in asked:
            with contextlib.suppress(KubectlFailed):  # a container that never started has no log
                said.append(f"$ kubectl {' '.join(words)}\n{self.kubectl(*words)}")
        return "\n".join(said)


def ready(pod: Json) -> Json | None:
    """The pod, if it is Ready."""
    conditions = {each["type"]: each["status"] for each in pod["status"].get("conditions", [])}
    return pod if conditions.get("Ready") == "True" else None


def container_status(pod: Json, name: str) -> Json:
    """What the kubelet says of a container, be it an init container or not."""
    status = pod["status"]
    listed = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    found: Json = next(each for each in listed if each["name"] == name)
    return found

"""What `helm test` runs: in webhook mode against a real `mcp-sidecar webhook` that runs as the chart starts it, in
policy mode beside a real sidecar and beside none.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import helm
from tests.support.certificates import Authority
from tests.support.helm import named, render
from tests.support.sidecar_process import PROGRAM, START_SECONDS, environment, sidecar_process

QUESTION = helm.CHART / "files/ask_webhook.py"
LOOK = helm.CHART / "files/ask_sidecar.py"


@contextlib.contextmanager
def _webhook(folder: Path, authority: Authority, *arguments: str) -> Iterator[str]:
    """The address of a webhook with a certificate of `authority`."""
    issued = authority.issue("127.0.0.1")
    (folder / "tls.crt").write_bytes(issued.certificate)
    (folder / "tls.key").write_bytes(issued.key)
    files = ["--cert-file", str(folder / "tls.crt"), "--key-file", str(folder / "tls.key")]
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*PROGRAM, "webhook", "--listen", f"127.0.0.1:{_free_port()}", *files, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment({"NAMESPACE": "mcp"}),
        )
        try:
            yield _bound(process, log)
        finally:
            process.kill()
            process.wait(START_SECONDS)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _bound(process: subprocess.Popen[bytes], log: Path) -> str:
    patience = time.monotonic() + START_SECONDS
    while "\n" not in (said := log.read_text()):
        assert process.poll() is None and time.monotonic() < patience, said
        time.sleep(0.01)
    return str(json.loads(said.splitlines()[0])["webhook"])


def _ask(address: str, authority: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(QUESTION), f"https://{address}/inject", str(authority)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_webhook_that_is_started_as_the_chart_does_passes(tmp_path: Path) -> None:
    settings = (
        "injection.mode=webhook",
        "sidecar.logLevel=debug",
        "sidecar.env.TEAM=a",
        "sidecar.otlpEndpoint=http://c:4318",
    )
    (deployment,) = named(render("", *settings), "Deployment")
    command, *arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert command == "webhook"
    authority = Authority()
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    with _webhook(tmp_path, authority, *arguments) as address:
        asked = _ask(address, tmp_path / "ca.crt")
    assert (asked.returncode, asked.stderr) == (0, "")
    assert "adds the sidecar: " in asked.stdout


def test_a_webhook_with_a_certificate_that_nobody_trusts_does_not(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(Authority("somebody else").certificate)
    with _webhook(tmp_path, Authority()) as address:
        asked = _ask(address, tmp_path / "ca.crt")
    assert asked.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in asked.stderr


def _look(seconds: str, port: int | str) -> subprocess.CompletedProcess[str]:
    path = {"PATH": f"{Path(PROGRAM[0]).parent}:/usr/bin:/bin"}
    command = [sys.executable, str(LOOK), seconds, str(port)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environment(path))


@pytest.mark.covers("B-383")
def test_in_policy_mode_a_first_pod_gives_the_policy_time_and_the_next_one_is_the_test() -> None:
    first, test = sorted(
        named(render("policy"), "Pod"), key=lambda pod: int(pod["metadata"]["annotations"]["helm.sh/hook-weight"])
    )
    for pod, seconds in ((first, "10"), (test, "0")):
        assert pod["metadata"]["labels"]["mcp-sidecar.dev/inject"] == "true"
        (container,) = pod["spec"]["containers"]
        assert container["command"] == ["python", "-c"]
        script, *arguments = container["args"]
        assert (script.strip(), arguments) == (LOOK.read_text().strip(), [seconds, "15051"])
        assert int(seconds) < pod["spec"]["activeDeadlineSeconds"]
    assert first["metadata"]["name"] != test["metadata"]["name"]


@pytest.mark.covers("B-383")
def test_beside_a_sidecar_both_pods_pass_at_once() -> None:
    with sidecar_process({}) as sidecar:
        port = sidecar.bound["grpc"].rpartition(":")[2]
        first, test = _look("20", port), _look("0", port)
    assert (first.returncode, first.stdout) == (0, "the policy is in force: it put a sidecar into this pod\n")
    assert (test.returncode, test.stderr) == (0, "")
    assert "mcp-sidecar" in test.stdout


@pytest.mark.covers("B-383")
def test_without_a_sidecar_the_first_pod_waits_and_passes_and_the_test_says_what_is_missing() -> None:
    port = _free_port()
    first, test = _look("0.1", port), _look("0", port)
    assert (first.returncode, first.stderr) == (0, "")
    assert (
        first.stdout == "this pod was created before the policy was in force: 0.1 s have passed, the next one is not\n"
    )
    assert (test.returncode, test.stdout) == (1, "")
    assert test.stderr.startswith("the policy put no sidecar into this pod.")

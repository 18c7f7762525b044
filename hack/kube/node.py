"""The inside of the node: process 1 of its namespaces, and the start of everything that runs there; knows no host."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from hack.kube import configs
from hack.kube.layout import NODE, Layout, load

MOUNTED = b"mounted\n"
"""What process 1 says when it waits for its link."""
_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.05
# The kubelet sets these for the whole machine; it finds what it wants in private files instead, and nothing changes.
_KERNEL = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}


class NodeFailed(RuntimeError):
    """The node did not become ready; the message names the log to read."""


def run(layout: Layout) -> NoReturn:
    """Be process 1: prepare, start everything in a child, and reap for ever."""
    _mount_privately()
    socket.sethostname(NODE)
    _do("ip", "link", "set", "lo", "up")
    sys.stdout.buffer.write(MOUNTED)
    sys.stdout.flush()
    sys.stdin.readline()  # until the host has moved the link in here
    _connect(layout)
    if os.fork() == 0:
        os.setsid()
        _report(layout)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(_POLL_SECONDS)


def _report(layout: Layout) -> NoReturn:
    """Start everything and leave a file that says how it went; never returns into the reaper's loop."""
    try:
        times = Start(layout).everything()
    except Exception as failure:  # noqa: BLE001 - whatever it is, the host must hear of it
        (layout.run / "failed").write_text(f"{type(failure).__name__}: {failure}")
        os._exit(1)
    (layout.run / "ready.unfinished").write_text(json.dumps(times))
    (layout.run / "ready.unfinished").rename(layout.run / "ready")
    os._exit(0)


def _mount_privately() -> None:
    _do("mount", "--make-rshared", "/")
    for folder in ("/run", "/var/lib", "/var/log"):
        _do("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
    private = Path("/run/sysctl")
    private.mkdir()
    for name, value in _KERNEL.items():
        stand_in = private / name.replace("/", ".")
        stand_in.write_text(f"{value}\n")
        _do("mount", "--bind", str(stand_in), f"/proc/sys/{name}")


def _connect(layout: Layout) -> None:
    _do("ip", "addr", "add", f"{layout.node_address}/30", "dev", "eth0")
    _do("ip", "link", "set", "eth0", "up")
    _do("ip", "route", "add", "default", "via", layout.host_address)
    for name in ("ip_forward", "conf/all/route_localnet"):
        Path("/proc/sys/net/ipv4", name).write_text("1")


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise NodeFailed(f"{' '.join(command)}: {done.stderr.strip()}")


class Start:
    """Starts every program in the order of need, and waits for each until it answers."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._began = time.monotonic()
        self._times: dict[str, float] = {}
        self._tls = ssl.create_default_context(cafile=layout.pki / "ca.crt")
        self._tls.load_cert_chain(layout.pki / "admin.crt", layout.pki / "admin.key")

    def everything(self) -> dict[str, float]:
        """Return after how many seconds each step was done."""
        layout = self._layout
        self._start("etcd", configs.etcd(layout))
        self._start("containerd", [f"--config={layout.run}/containerd.toml"])
        self._until("etcd", lambda: bool(_get("http://127.0.0.1:2379/readyz")))
        self._start("kube-apiserver", configs.apiserver(layout))
        self._until("containerd", self._containerd_answers)
        self._containerd("-n", "k8s.io", "images", "import", str(layout.images))
        self._done("images")
        self._until("apiserver", lambda: self._ask("/readyz") == b"ok")
        self._start("kube-controller-manager", configs.manager(layout))
        self._start("kube-scheduler", configs.scheduler(layout))
        self._start("kubelet", configs.kubelet(layout))
        self._start("coredns", ["-conf", f"{layout.run}/Corefile"])
        self._start("kube-proxy", [f"--config={layout.run}/proxy.yaml"])
        self._until("account", lambda: bool(self._ask("/api/v1/namespaces/default/serviceaccounts/default")))
        self._until("node", self._node_is_ready)
        return self._times

    def _start(self, name: str, arguments: list[str]) -> None:
        with (self._layout.logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [str(self._layout.programs / name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=self._environment(),
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        layout = self._layout
        path = f"{layout.programs}:{layout.debian}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {
            "PATH": path,
            "LD_LIBRARY_PATH": str(layout.debian),
            "TMPDIR": f"{layout.run}/tmp",
            "HOME": str(layout.run),
        }

    def _until(self, step: str, answered: Callable[[], bool]) -> None:
        end, last = time.monotonic() + _PATIENCE_SECONDS, "no answer"
        while time.monotonic() < end:
            for name, process in self._running.items():
                if process.poll() is not None:
                    raise NodeFailed(f"{name} ended with {process.returncode}; see {self._layout.logs}/{name}.log")
            try:
                if answered():
                    self._done(step)
                    return
            except (OSError, subprocess.SubprocessError) as failure:
                last = str(failure)
            time.sleep(_POLL_SECONDS)
        raise NodeFailed(f"{step} did not come within {_PATIENCE_SECONDS:g} s: {last}; see {self._layout.logs}")

    def _done(self, step: str) -> None:
        self._times[step] = round(time.monotonic() - self._began, 2)

    def _containerd(self, *arguments: str) -> None:
        command = [str(self._layout.programs / "ctr"), "-a", f"{self._layout.run}/containerd.sock", *arguments]
        subprocess.run(command, env=self._environment(), capture_output=True, check=True, timeout=_PATIENCE_SECONDS)

    def _containerd_answers(self) -> bool:
        self._containerd("version")
        return True

    def _ask(self, path: str) -> bytes:
        return _get(self._layout.api + path, self._tls)

    def _node_is_ready(self) -> bool:
        node = json.loads(self._ask(f"/api/v1/nodes/{NODE}"))
        conditions = {each["type"]: each["status"] for each in node["status"].get("conditions", [])}
        return conditions.get("Ready") == "True" and not node["spec"].get("taints")


def _get(url: str, tls: ssl.SSLContext | None = None) -> bytes:
    with urllib.request.urlopen(url, context=tls, timeout=5) as answer:
        body: bytes = answer.read()
    return body


if __name__ == "__main__":
    found = load(Path(sys.argv[1]))
    if found is None:
        sys.exit(f"{sys.argv[1]}: no cluster was laid out here")
    run(found)

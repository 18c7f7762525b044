"""Starts a real Kubernetes cluster of one node in namespaces of its own, and takes it away without a trace.

    python -m hack.kube.cluster up|down

Stands on the host's side; what happens inside is `node`'s business. `MCP_SIDECAR_KUBE_RUN` names its directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hack.kube import cgroups, configs, image, node, pki
from hack.kube.layout import Layout, built, default_run, load
from hack.kube.requirements import missing

_ROOT = Path(__file__).resolve().parents[2]
_CLUSTERS = 50
_LONGEST_PATH = 80  # a socket's name has 107 characters, and some of them are below the directory
_HIDDEN = ("/run/", "/var/lib/", "/var/log/", "/var/run/")
_PATIENCE_SECONDS = 10.0
_POLL_SECONDS = 0.05


class ClusterFailed(RuntimeError):
    """The cluster did not start, or is not there; the message says what to do."""


def up(run: Path) -> dict[str, float]:
    """Start a cluster in that directory. Returns after how many seconds each step was done.

    Raises `ClusterFailed`; what had been started is gone then, except for the logs in the message.
    """
    if lacking := missing():
        raise ClusterFailed(lacking)
    if load(run):
        raise ClusterFailed(f"a cluster runs in {run} already: hack/kube/down.sh ends it")
    if len(str(run)) > _LONGEST_PATH or str(run).startswith(_HIDDEN):
        raise ClusterFailed(f"{run} cannot hold a cluster: too long, or in a directory that the node hides")
    layout = _lay_out(run)
    try:
        pki.write(layout)
        configs.write(layout)
        image.write(layout.images, layout.programs)
        return _boot(layout)
    except BaseException as failure:
        said = _last_words(layout)
        down(run)
        if isinstance(failure, ClusterFailed):
            raise ClusterFailed(f"{failure}\n{said}") from failure
        raise


def down(run: Path) -> list[str]:
    """End the cluster of that directory, if there is one. Returns what could not be taken away."""
    layout = load(run)
    if layout is None:
        return []
    _kill(layout)
    subprocess.run(["ip", "link", "del", layout.name], capture_output=True, check=False, timeout=60)
    cgroups.remove(layout.name)
    patience = time.monotonic() + _PATIENCE_SECONDS
    while run.exists() and time.monotonic() < patience:  # the kernel may still hold some mounts
        shutil.rmtree(run, ignore_errors=True)
        time.sleep(_POLL_SECONDS)
    return left(layout)


def left(layout: Layout) -> list[str]:
    """A line for everything that a cluster which is down has left on the machine."""
    lines = [f"cgroup {group}" for group in cgroups.found(layout.name)]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    lines += [f"mount {mount.split()[4]}" for mount in mounts if f"{layout.run}/" in mount]
    if Path("/sys/class/net", layout.name).exists():
        lines.append(f"link {layout.name}")
    lines += [f"process {pid}: {command[:120]}" for pid, command in _processes() if f"{layout.run}/" in command]
    if layout.run.exists():
        lines.append(f"directory {layout.run}")
    return lines


@contextlib.contextmanager
def without(layout: Layout, program: str) -> Iterator[None]:
    """Kill a program of the node; it is started again as it was when the block ends, and this does not wait for it."""
    pid, command = _running(layout, program)
    os.kill(pid, signal.SIGKILL)
    try:
        yield
    finally:
        environment = [
            f"PATH={layout.programs}:{layout.debian}:{os.environ['PATH']}",
            f"LD_LIBRARY_PATH={layout.debian}",
        ]
        detached = 'log=$1; shift; setsid "$@" </dev/null >>"$log" 2>&1 &'
        log = str(layout.logs / f"{program}.log")
        _inside(layout, "env", *environment, "sh", "-c", detached, "sh", log, *command)


def _lay_out(run: Path) -> Layout:
    """Make the directory and take a number that no other cluster of this machine has."""
    programs = built()
    for number in range(_CLUSTERS):
        layout = Layout(run, programs, number)
        try:
            cgroups.make(layout.name)
        except FileExistsError:
            continue
        run.mkdir(mode=0o711, parents=True, exist_ok=True)
        layout.save()
        for folder in ("logs", "tmp", "volume-plugins"):
            (run / folder).mkdir()
        layout.ledgers.mkdir()
        layout.ledgers.chmod(0o1777)
        return layout
    raise ClusterFailed(f"{_CLUSTERS} clusters run on this machine: end one with hack/kube/down.sh")


def _boot(layout: Layout) -> dict[str, float]:
    """Make the namespaces, join them to the host, and wait until the node is ready."""
    namespaces = ["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--mount-proc"]
    with (layout.logs / "node.log").open("ab") as log:
        outer = subprocess.Popen(
            ["unshare", *namespaces, sys.executable, "-m", node.__name__, str(layout.run)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            start_new_session=True,
        )
    assert outer.stdin
    assert outer.stdout
    with outer.stdin, outer.stdout:
        said = outer.stdout.readline()
        if said != node.MOUNTED:
            outer.wait(timeout=_PATIENCE_SECONDS)
            raise ClusterFailed("the node's namespaces could not be made")
        pid = _child_of(outer.pid)
        (layout.run / "pid").write_text(f"{pid} {_born(pid)}")
        _link(layout, pid)
        outer.stdin.write(b"connected\n")
    return _wait(layout, outer)


def _link(layout: Layout, pid: int) -> None:
    _ip("link", "add", layout.name, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    _ip("addr", "add", f"{layout.host_address}/30", "dev", layout.name)
    _ip("link", "set", layout.name, "up")
    for network in (layout.pods, layout.services):
        _ip("route", "add", network, "via", layout.node_address, "dev", layout.name)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise ClusterFailed(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _wait(layout: Layout, outer: subprocess.Popen[bytes]) -> dict[str, float]:
    """The node bounds every step of its own, so this ends."""
    while not (layout.run / "ready").exists():
        if (layout.run / "failed").exists():
            raise ClusterFailed((layout.run / "failed").read_text())
        if outer.poll() is not None:
            raise ClusterFailed(f"the node ended with {outer.returncode}")
        time.sleep(_POLL_SECONDS)
    times: dict[str, float] = json.loads((layout.run / "ready").read_text())
    return times


def _kill(layout: Layout) -> None:
    """Kill process 1 of the node: the kernel kills the rest, and drops the namespaces."""
    try:
        pid, born = (int(word) for word in (layout.run / "pid").read_text().split())
    except (FileNotFoundError, ValueError):
        return
    if _born(pid) != born:  # the number is somebody else's by now
        return
    os.kill(pid, signal.SIGKILL)
    patience = time.monotonic() + _PATIENCE_SECONDS
    while _born(pid) == born and time.monotonic() < patience:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        time.sleep(_POLL_SECONDS)


def _last_words(layout: Layout) -> str:
    logs = sorted(layout.logs.glob("*.log"))
    return "\n".join(f"---- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)


# ---- processes ----


def _born(pid: int) -> int:
    """When the process was started, in ticks since boot; with the number it names a process for good. 0: it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])


def _child_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _processes() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                yield int(entry.name), (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")


def _running(layout: Layout, program: str) -> tuple[int, list[str]]:
    """Number and command line of a program of the node."""
    path = str(layout.programs / program)
    for pid, command in _processes():
        if command.startswith(f"{path} ") and f"{layout.run}/" in command:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            return pid, [word for word in words if word]
    raise ClusterFailed(f"no {program} runs in {layout.run}")


def _inside(layout: Layout, *command: str) -> None:
    pid = (layout.run / "pid").read_text().split()[0]
    entered = ["nsenter", "--target", pid, "--mount", "--net", "--pid", "--ipc", "--uts"]
    subprocess.run([*entered, *command], check=True, capture_output=True, timeout=60)


def main(arguments: list[str]) -> int:
    """The command line. Exit code 1: it did not work, and the reason is on stderr."""
    run = default_run()
    try:
        match arguments:
            case ["up"]:
                times = up(run)
                print(f"node ready after {times['node']:g} s: export KUBECONFIG={run}/kubeconfig")
            case ["down"]:
                remains = down(run)
                print("\n".join(["left behind:", *remains]) if remains else "nothing is left")
                return bool(remains)
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except ClusterFailed as failure:
        print(f"cluster: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

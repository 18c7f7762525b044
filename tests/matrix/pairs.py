"""The clients and the servers of the matrix, how each is started, and what the sidecar cannot do for which pair yet."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.matrix.words import EVERYTHING, REVISION, SDK, STATELESS, Words
from tests.support import real_servers
from tests.support.real_servers import RealServer

CLIENT_SECONDS = 130.0
"""More than a client takes in which every check runs out of time (`clients/checks.py`)."""

_ROOT = Path(__file__).resolve().parents[2]
_CLIENTS = Path(__file__).with_name("clients")

Outcomes = dict[str, str]
"""For every check "ok", "failed: …" or "n/a: …"."""


@dataclass(frozen=True, slots=True)
class Client:
    """A program that does the checks. `revision` is what it speaks when it can choose."""

    title: str
    program: Callable[[], list[str]]
    mode: str
    revision: str
    over: str = "http"

    def run(self, target: str, words: Words) -> Outcomes:
        """The outcomes of the checks against `target`: a URL, an address with a server's name, or a command."""
        done = subprocess.run(
            [*self.program(), target, self.mode, json.dumps(words)],
            cwd=_ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        outcomes: Outcomes = json.loads(done.stdout)
        return outcomes


@dataclass(frozen=True, slots=True)
class Server:
    """An MCP server: one that `running` starts, or one over stdio, which its client starts by its `command`."""

    title: str
    words: Words
    legacy: bool = False
    running: Callable[[], contextlib.AbstractContextManager[RealServer]] | None = None
    command: Callable[[], list[str]] | None = None


def environment() -> dict[str, str]:
    """What clients, and servers over stdio, need to find their modules."""
    return {**os.environ, "PYTHONPATH": str(_ROOT), "MODULES": str(real_servers.typescript_sdks()[1])}


def _python2(module: str, *words: str) -> list[str]:
    return [sys.executable, "-m", module, *words]


def _python1(module: str, *words: str) -> list[str]:
    return [str(real_servers.sdk1_python()), "-m", module, *words]


def _typescript(version: int) -> list[str]:
    node, _ = real_servers.typescript_sdks()
    return [str(node), str(_CLIENTS / f"typescript{version}.mjs")]


_MODERN, _LEGACY = "2026-07-28", "2025-11-25"
_ON_PYTHON2 = partial(_python2, "tests.matrix.clients.python2")
_ON_PYTHON1 = partial(_python1, "tests.matrix.clients.python1")

CLIENTS: Mapping[str, Client] = {
    "python2-modern": Client("Python 2.3", _ON_PYTHON2, "modern", _MODERN),
    "python2-legacy": Client("Python 2.3", _ON_PYTHON2, "legacy", _LEGACY),
    "python2-grpc-modern": Client("Python 2.3 over gRPC", _ON_PYTHON2, "grpc-modern", _MODERN, "grpc"),
    "python2-grpc-legacy": Client("Python 2.3 over gRPC", _ON_PYTHON2, "grpc-legacy", _LEGACY, "grpc"),
    "python1": Client("Python 1.30", _ON_PYTHON1, "legacy", _LEGACY),
    "typescript1": Client("TypeScript 1.32", partial(_typescript, 1), "legacy", _LEGACY),
    "typescript2": Client("TypeScript 2.4", partial(_typescript, 2), "legacy", _LEGACY),
    "typescript2-auto": Client("TypeScript 2.4, `auto`", partial(_typescript, 2), "auto", _MODERN),
}

SERVERS: Mapping[str, Server] = {
    "sdk2": Server("Python 2.3", SDK, running=real_servers.sdk2),
    "sdk1": Server("Python 1.30", SDK, legacy=True, running=real_servers.sdk1),
    "sdk1-stateless": Server("Python 1.30, stateless", STATELESS, legacy=True, running=real_servers.sdk1_stateless),
    "everything": Server("server-everything", EVERYTHING, legacy=True, running=real_servers.everything),
    "stdio2": Server(
        "Python 2.3 over stdio", SDK, command=partial(_python2, "tests.support.servers.sdk2_server", "stdio")
    ),
    "stdio1": Server(
        "Python 1.30 over stdio",
        SDK,
        legacy=True,
        command=partial(_python1, "tests.support.servers.sdk1_server", "stdio"),
    ),
}

WAITING_FOR: Mapping[str, Callable[[Client, Server], bool]] = {}
"""Features of the sidecar that are not there yet, with the pairs that need them. These pairs are not run."""

FAULTS: Mapping[tuple[str, str, str], str] = {}
"""(client, server, check) that fail through the sidecar and not without it, with what goes wrong."""


def waits_for(client: str, server: str) -> str:
    """The feature that a pair waits for, or nothing."""
    waiting = (feature for feature, needs in WAITING_FOR.items() if needs(CLIENTS[client], SERVERS[server]))
    return next(waiting, "")


def meet_directly(client: str, server: str) -> bool:
    """Whether the two have a revision and a way to carry it in common, so that they need no sidecar."""
    one = CLIENTS[client]
    return one.over == "http" and (one.revision == _LEGACY or one.mode == "auto" or not SERVERS[server].legacy)


def words_for(client: str, server: str, *, directly: bool = False) -> Words:
    """What the client needs to know: through the sidecar it speaks the revision that it likes best."""
    legacy = directly and SERVERS[server].legacy
    return {REVISION: {"is": _LEGACY if legacy else CLIENTS[client].revision}, **SERVERS[server].words}


def only_alone(client: str, server: str) -> tuple[str, ...]:
    """The checks that a pair can do only while no other client has a call open.

    Over a pipe a call that may be asked has a process of a 2025-era server alone, and who listens hears the first of
    them (B-140).
    """
    shared = SERVERS[server].legacy and SERVERS[server].command and CLIENTS[client].revision == _MODERN
    return ("subscription",) if shared else ()


def possible(client: str, server: str) -> Outcomes:
    """What a pair comes to when nothing stands between the two that makes faults."""
    words = words_for(client, server)
    return {check: f"n/a: {more}" if isinstance(more, str) else "ok" for check, more in words.items()}


def expected(client: str, server: str) -> Outcomes:
    """What a pair comes to through the sidecar: no more than "failed" where it fails, the reason being in `FAULTS`."""
    outcomes = possible(client, server)
    return {check: "failed" if (client, server, check) in FAULTS else found for check, found in outcomes.items()}


@contextlib.contextmanager
def place_of(server: Server) -> Iterator[str]:
    """Where a client reaches the server without a sidecar: its URL, or its command as JSON."""
    if server.command is not None:
        yield json.dumps(server.command())
    elif server.running is not None:
        with server.running() as running:
            yield running.url

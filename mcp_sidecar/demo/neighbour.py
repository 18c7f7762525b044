"""A sidecar as a child process on ports that are free; knows its command line and its ready file."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

Bound = dict[str, str | list[str]]
"""The ready file: listener to address, or addresses."""

_LISTENERS = {"grpc": 15051, "http": 15080, "health": 15081, "metrics": 15090}
_START, _STOP, _LOOK = 20.0, 15.0, 0.02
"""Seconds: until it is ready, until it has ended, between two looks at the ready file."""


class NotStarted(Exception):
    """The sidecar did not come up; what it said is in the message."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A running sidecar. `moved` maps the listeners whose usual port was taken to that port."""

    grpc: str
    http: str
    moved: Mapping[str, int]


@contextlib.asynccontextmanager
async def neighbour(upstream: str, environ: Mapping[str, str]) -> AsyncIterator[Neighbour]:
    """A sidecar in front of `upstream` ("NAME=URL"); it has drained and ended when the block does.

    Raises `NotStarted`.
    """
    with tempfile.TemporaryDirectory(prefix="mcp-sidecar-demo-") as scratch:
        ready, log = Path(scratch, "ready.json"), Path(scratch, "log")
        moved = {name: port for name, port in _LISTENERS.items() if not _is_free(port)}
        process = await _start(upstream, ready, log, moved, environ)
        try:
            bound = await _bound(process, ready, log)
            yield Neighbour(_first(bound["grpc"]), _first(bound["http"]), moved)
        finally:
            await _stop(process)


async def _start(
    upstream: str, ready: Path, log: Path, moved: Mapping[str, int], environ: Mapping[str, str]
) -> asyncio.subprocess.Process:
    words = ["serve", "--upstream", upstream, "--ready-file", str(ready), "--log-level", "warning"]
    for name, port in _LISTENERS.items():
        # Nothing of a demonstration is for other machines, so health and metrics stay on loopback too.
        words += [f"--{name}", f"127.0.0.1:{0 if name in moved else port}"]
    # Settings of the user's own sidecar are not for this one, and nobody waits for a lame duck here.
    env = {key: value for key, value in environ.items() if not key.startswith("MCP_SIDECAR_")}
    env["MCP_SIDECAR_DRAIN_LAME_DUCK"] = "0s"
    env["MCP_SIDECAR_ADMIN_ACTIONS"] = "true"  # the reader may try the tools of the demo from the page too
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "mcp_sidecar",
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            # Ctrl-C in the terminal is for the demo, which then ends the sidecar in its own time.
            start_new_session=True,
        )


async def _bound(process: asyncio.subprocess.Process, ready: Path, log: Path) -> Bound:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_START):
            while process.returncode is None:
                if bound := _read(ready):
                    return bound
                await asyncio.sleep(_LOOK)
    raise NotStarted(f"the sidecar did not start (exit code {process.returncode}):\n{_last_words(log)}")


def _read(ready: Path) -> Bound:
    with contextlib.suppress(FileNotFoundError, ValueError):
        return dict(json.loads(ready.read_text(encoding="utf-8")))
    return {}


def _last_words(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_STOP):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _first(address: str | list[str]) -> str:
    return address if isinstance(address, str) else address[0]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

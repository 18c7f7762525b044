"""A sidecar as users run it: `mcp-sidecar serve` in a process of its own. Knows its files and signals only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.inbound.waiting import eventually

PROGRAM = (str(Path(sys.executable).with_name("mcp-sidecar")),)
START_SECONDS = 20.0
LISTENERS = ("grpc", "http", "health", "metrics")
QUICK = {"MCP_SIDECAR_DRAIN_LAME_DUCK": "0s", "MCP_SIDECAR_DRAIN_GRACE": "2s"}


class NotServing(RuntimeError):
    """The process ended, or was not ready in time; the message has what it said."""


@dataclass(frozen=True, slots=True)
class SidecarProcess:
    """A process that serves. `bound` is what its ready file says; its output is in two files."""

    process: subprocess.Popen[bytes]
    bound: dict[str, str]
    out: Path
    err: Path

    def url(self, server: str = "") -> str:
        """The MCP endpoint of one upstream, or of all."""
        return f"http://{self.bound['http']}" + (f"/servers/{server}/mcp" if server else "/mcp")

    def probe(self, path: str) -> str:
        return f"http://{self.bound['metrics']}{path}"

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The whole lines of its log so far, parsed."""
        return [json.loads(line) for line in self.out.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def calls(self, **fields: Any) -> list[dict[str, Any]]:
        """The log lines of calls whose fields are these."""
        lines = [line for line in self.lines if line["event"] == "call"]
        return [line for line in lines if all(line.get(key) == value for key, value in fields.items())]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, seconds: float = 10.0) -> int:
        """Its exit code. Raises `TimeoutError` when it does not end in time."""
        await eventually(lambda: self.process.poll() is not None, seconds)
        return int(self.process.returncode)

    @property
    def resident_bytes(self) -> int:
        """The memory it occupies."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without anything that configures a sidecar, and `more`."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MCP_SIDECAR_")}
    return {**inherited, "NO_COLOR": "1", **(more or {})}


@contextlib.contextmanager
def sidecar_process(
    upstreams: Mapping[str, str],
    *words: str,
    environ: Mapping[str, str] | None = None,
    program: Sequence[str] = PROGRAM,
    stdout: int | None = None,
) -> Iterator[SidecarProcess]:
    """Serve on free ports; returns once the ready file is there, kills what is left at the end.

    `stdout` is a file descriptor to log to instead of the file.
    """
    with tempfile.TemporaryDirectory(prefix="sidecar-") as directory:
        place = Path(directory)
        command = [*program, "serve", "--ready-file", str(place / "ready"), *words]
        for name in LISTENERS:
            if f"--{name}" not in words:
                command += [f"--{name}", "127.0.0.1:0"]
        for name, url in upstreams.items():
            command += ["--upstream", f"{name}={url}"]
        with (place / "out").open("wb") as out, (place / "err").open("wb") as err:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=err,
                env=environment({**QUICK, **(environ or {})}),
            )
        try:
            yield SidecarProcess(process, _bound(process, place), place / "out", place / "err")
        finally:
            process.kill()
            process.wait(START_SECONDS)


def _bound(process: subprocess.Popen[bytes], place: Path) -> dict[str, str]:
    patience = time.monotonic() + START_SECONDS
    while not (place / "ready").exists():
        if process.poll() is not None or time.monotonic() > patience:
            said = (place / "out").read_text() + (place / "err").read_text()
            raise NotServing(f"exit code {process.poll()}:\n{said}")
        time.sleep(0.005)
    bound: dict[str, str] = json.loads((place / "ready").read_text())
    return bound


async def run(*words: str, environ: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """A command to its end: exit code, stdout and stderr. No output ever holds a traceback."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, *words, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environment(environ)
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
        raise AssertionError(f"did not end; stdout {out!r}, stderr {err!r}") from None
    assert b"Traceback" not in out + err, err.decode()
    return process.returncode or 0, out.decode(), err.decode()

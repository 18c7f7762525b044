"""Debian's Prometheus in a process of its own, which scrapes one address; knows its API, and no metric."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.otel.asking import until
from tests.support import raw_http

HOST = "127.0.0.1"
SECONDS = 20.0
LABELS = {"namespace": "shop", "pod": "web-0"}
"""What a Prometheus in a cluster adds to all it scrapes."""

needed = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="no prometheus or no promtool: install Debian's package prometheus",
)


class Prometheus:
    """Answers queries about what it has scraped."""

    def __init__(self, port: int) -> None:
        self._api = f"http://{HOST}:{port}/api/v1/"

    async def ask(self, what: str, **parameters: str) -> Any:
        """A GET of its API. Raises `OSError` while it does not listen, and `AssertionError` where it answers no."""
        reply = await raw_http.request("GET", f"{self._api}{what}?{urlencode(parameters)}")
        (answer,) = reply.messages
        assert answer["status"] == "success", answer
        return answer["data"]

    async def query(self, expression: str) -> dict[tuple[str, ...], float]:
        """The values of an instant query, by the values of their labels in the order of the labels' names."""
        rows = (await self.ask("query", query=expression))["result"]
        return {_key(row["metric"]): float(row["value"][1]) for row in rows}

    async def has_scraped(self) -> bool:
        """It listens, and the last scrape was good."""
        with contextlib.suppress(OSError, AssertionError, ValueError):
            return 1.0 in (await self.query("up")).values()
        return False


def _free_port() -> int:
    """It takes no port 0."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _key(labels: dict[str, str]) -> tuple[str, ...]:
    return tuple(value for name, value in sorted(labels.items()) if name != "__name__")


@contextlib.asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncIterator[Prometheus]:
    """One that scrapes `target` (host:port) twice a second, and has done so once."""
    scraped = {"job_name": "mcp-sidecar", "static_configs": [{"targets": [target], "labels": LABELS}]}
    config = {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"}, "scrape_configs": [scraped]}
    (folder / "prometheus.yml").write_text(json.dumps(config))
    port = _free_port()
    with _running(folder, port):
        found = Prometheus(port)
        await until(found.has_scraped)
        yield found


@contextlib.contextmanager
def _running(folder: Path, port: int) -> Iterator[None]:
    command = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/prometheus",
        f"--web.listen-address={HOST}:{port}",
        "--enable-feature=exemplar-storage",
    ]
    with (folder / "prometheus.log").open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        yield
    finally:
        process.kill()
        process.wait(SECONDS)

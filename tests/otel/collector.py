"""The OpenTelemetry Collector of hack/otelcol in a process of its own, which writes what it gets into files.

Knows its configuration and its log, and nothing of who sends.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "hack" / "otelcol" / "build.sh"
HOST = "127.0.0.1"
SECONDS = 20.0
SIGNALS = ("traces", "metrics", "logs")
SCRAPED = "scraped"
_READY = "Everything is ready"
_BOUND = re.compile(r'Starting (GRPC|HTTP) server.*"endpoint": ?"[^"]*:(\d+)"')

Json = dict[str, Any]


class CollectorFailed(AssertionError):
    """It did not start, or did not end well; the message has what it said."""


def program() -> Path:
    """Where the build puts it."""
    found = subprocess.run([BUILD, "--where"], capture_output=True, text=True, timeout=60, check=True)
    return Path(found.stdout.strip())


def configuration(
    arrived: Path, *, host: str = f"{HOST}:", ports: tuple[int, int] = (0, 0), tls: Json | None = None
) -> Json:
    """Both receivers of OTLP, batches, and a file in `arrived` for each signal. Port 0 picks one.

    The signals do not share an exporter: one of its pipelines would close it while another's batches still come.
    """
    listeners = {
        name: {"endpoint": f"{host}{port}", **({"tls": tls} if tls else {})}
        for name, port in zip(("grpc", "http"), ports, strict=True)
    }
    return {
        "receivers": {"otlp": {"protocols": listeners}},
        "processors": {"batch": {"timeout": "100ms"}},
        "exporters": {f"file/{signal}": _written(arrived, signal) for signal in SIGNALS},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},  # it would listen on a port of its own
            "pipelines": {
                signal: {"receivers": ["otlp"], "processors": ["batch"], "exporters": [f"file/{signal}"]}
                for signal in SIGNALS
            },
        },
    }


def scraping(config: Json, arrived: Path, target: str) -> Json:
    """The same, with `target` (host:port) scraped twice a second, into a file in `arrived` of its own."""
    job = {"job_name": "mcp-sidecar", "scrape_interval": "500ms", "static_configs": [{"targets": [target]}]}
    # Without the second setting it looks for targets five seconds after its start.
    receiver = {"config": {"scrape_configs": [job]}, "discovery_reload_on_startup": True}
    exporter = f"file/{SCRAPED}"
    pipeline = {"receivers": ["prometheus"], "exporters": [exporter]}
    service = config["service"]
    return {
        **config,
        "receivers": {**config["receivers"], "prometheus": receiver},
        "exporters": {**config["exporters"], exporter: _written(arrived, SCRAPED)},
        "service": {**service, "pipelines": {**service["pipelines"], f"metrics/{SCRAPED}": pipeline}},
    }


def _written(arrived: Path, name: str) -> Json:
    return {"path": str(arrived / f"{name}.json"), "append": True, "flush_interval": "100ms"}


@dataclass
class Running:
    """A collector that listens at `ports` (gRPC, HTTP); what it got is in files in `arrived`."""

    process: subprocess.Popen[bytes]
    arrived: Path
    log: Path
    ports: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self._until_ready()
        bound = dict(_BOUND.findall(self.log.read_text()))
        self.ports = (int(bound["GRPC"]), int(bound["HTTP"]))

    def url(self, way: str, scheme: str = "http", host: str = HOST) -> str:
        """Where to send by `grpc` or by `http`."""
        return f"{scheme}://{host}:{self.ports[way == 'http']}"

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end and wait; after SIGTERM everything it took is in the file. Raises `CollectorFailed`."""
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        if code != (0 if number is signal.SIGTERM else -number):
            raise CollectorFailed(f"exit code {code}:\n{self.log.read_text()}")

    def _until_ready(self) -> None:
        patience = time.monotonic() + SECONDS
        while _READY not in (said := self.log.read_text()):
            if self.process.poll() is not None or time.monotonic() > patience:
                raise CollectorFailed(f"exit code {self.process.poll()}:\n{said}")
            time.sleep(0.01)


@contextlib.contextmanager
def collector(
    folder: Path, config: Json | None = None, *more: str, environ: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """One that writes into `folder`; `more` are files whose settings `config` overrules. Kills what is left."""
    log, own = folder / "collector.log", folder / "collector.yaml"
    own.write_text(json.dumps(config or configuration(folder)))
    words = [f"--config={file}" for file in (*more, str(own))]
    with log.open("wb") as said:
        process = subprocess.Popen(
            [str(program()), *words],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**os.environ, **(environ or {})},
        )
    try:
        yield Running(process, folder, log)
    finally:
        process.kill()
        process.wait(SECONDS)

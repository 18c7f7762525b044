"""Whatever takes part in a measurement and how it is started: upstream, sidecar, other proxies. Measures nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.processes import POLL, START_LIMIT, Stage, accepts, free_port
from bench.results import MeasurementFailed
from bench.tools import BIN, PAYLOAD

SIDECAR = (str(Path(sys.executable).parent / "mcp-sidecar"),)
LISTEN = ("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--health", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
LOGGING = ("--log-level", "info", "--log-format", "json")
PROXIES = (
    "haproxy",
    "nginx",
)  # Debian packages of these names; they live in /usr/sbin, which users may not have in PATH
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"

HAPROXY = """\
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
listen proxy
  bind 127.0.0.1:{port}
  server up 127.0.0.1:{upstream}
"""

# keepalive_requests: by default nginx closes a connection after 1000 calls, which would measure its connects.
NGINX = """\
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://up;
      proxy_http_version 1.1;
      proxy_set_header connection "";
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A running process and its ports; `grpc` is 0 if it speaks HTTP only, `http` is 0 if gRPC only."""

    name: str
    process: subprocess.Popen[bytes]
    http: int = 0
    grpc: int = 0
    path: str = "/mcp"


def start_upstream(stage: Stage) -> Peer:
    """The MCP server that all calls go to; it runs next to the load."""
    return _start_mcpup(stage, "direct, same CPU", measured=False)


def start_direct(stage: Stage) -> Peer:
    """The same MCP server in the place of a proxy: on the measured CPU, called without anything between."""
    return _start_mcpup(stage, "direct", measured=True)


def _start_mcpup(stage: Stage, name: str, *, measured: bool) -> Peer:
    port = free_port()
    process = stage.start(name, [str(BIN / "mcpup"), str(port)], measured=measured)
    stage.wait_until_listening(name, process, port)
    return Peer(name, process, http=port)


def start_sidecar(stage: Stage, command: Sequence[str], upstream: Peer, name: str = "sidecar") -> Peer:
    """The sidecar, until it is ready and its gRPC port accepts."""
    return _serve(stage, command, ["--upstream", f"up=http://127.0.0.1:{upstream.http}/mcp"], name)


def start_telling(
    stage: Stage,
    command: Sequence[str],
    upstream: Peer,
    collector: int,
    *,
    name: str = "telling",
    protocol: str = "http/protobuf",
) -> Peer:
    """A sidecar that tells a collector on this port as much as it does by default."""
    config = stage.folder / f"{name}.yaml"
    config.write_text(
        f'telemetry: {{otlp_endpoint: "http://127.0.0.1:{collector}", protocol: {protocol}, interval: 1s}}\n'
        f'upstreams:\n  - {{name: up, url: "http://127.0.0.1:{upstream.http}/mcp"}}\n'
    )
    return _serve(stage, command, ["-c", str(config)], name)


def start_bridge(stage: Stage, command: Sequence[str], upstream: Peer) -> Peer:
    """A sidecar that takes the same upstream for a server of each era: `up` is modern, `old` is legacy."""
    config = stage.folder / "bridge.yaml"
    url = f"http://127.0.0.1:{upstream.http}/mcp"
    config.write_text(
        f'upstreams:\n  - {{name: up, url: "{url}"}}\n  - {{name: old, url: "{url}", protocol: 2025-11-25}}\n'
    )
    return _serve(stage, command, ["-c", str(config)], "bridge")


def _serve(stage: Stage, command: Sequence[str], upstreams: Sequence[str], name: str) -> Peer:
    if shutil.which(command[0]) is None:
        raise MeasurementFailed(f"{command[0]} is missing; run `make setup`")
    ready = stage.folder / f"{name}.ready"
    process = stage.start(name, [*command, "serve", *upstreams, *LISTEN, *LOGGING, "--ready-file", str(ready)])
    limit = time.monotonic() + START_LIMIT
    while True:
        ports = _ports(ready)
        if ports and accepts(ports["grpc"]):
            return Peer(name, process, http=ports["http"], grpc=ports["grpc"], path="/servers/up/mcp")
        stage.check(name, process, limit)
        time.sleep(POLL)


def _ports(ready: Path) -> dict[str, int]:
    """Listener → port, empty while the file is missing or half written."""
    try:
        addresses: dict[str, str] = json.loads(ready.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return {listener: int(address.rpartition(":")[2]) for listener, address in addresses.items() if address != "off"}


def start_floor(stage: Stage, upstream: Peer) -> Peer:
    """The TCP pump: what the kernel alone costs."""
    port = free_port()
    return _listening(stage, "floor", [str(BIN / "pump"), str(port), str(upstream.http)], port)


def start_proxy(stage: Stage, name: str, upstream: Peer) -> Peer:
    """haproxy or nginx as a plain reverse proxy: one thread, keep-alive on both sides, no logging."""
    port = free_port()
    template = {"haproxy": HAPROXY, "nginx": NGINX}[name]
    config = stage.folder / f"{name}.conf"
    config.write_text(template.format(port=port, upstream=upstream.http, folder=stage.folder))
    options = {"haproxy": ["-db", "-f", str(config)], "nginx": ["-p", str(stage.folder), "-c", str(config)]}[name]
    return _listening(stage, name, [installed(name) or name, *options], port)


def start_bare_grpc(stage: Stage) -> Peer:
    """A grpc.aio server whose Call returns at once: what the gRPC library alone costs."""
    port = free_port()
    command = [sys.executable, "-m", "bench.bare_grpc", str(port), str(PAYLOAD)]
    peer = _listening(stage, "bare grpc.aio", command, port)
    return Peer(peer.name, peer.process, grpc=port)


def installed(proxy: str) -> str | None:
    """Path of haproxy or nginx, None if it is not installed."""
    return shutil.which(proxy) or shutil.which(proxy, path=SEARCH)


def version(proxy: str) -> str:
    """Version of haproxy or nginx as it says of itself."""
    path = installed(proxy)
    if path is None:
        return "not installed"
    said = subprocess.run([path, "-v"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+\S*", said.stdout + said.stderr)
    return found.group() if found else "unknown"


def _listening(stage: Stage, name: str, command: list[str], port: int) -> Peer:
    process = stage.start(name, command)
    try:
        stage.wait_until_listening(name, process, port)
    except MeasurementFailed:
        stage.end(process)
        raise
    return Peer(name, process, http=port)

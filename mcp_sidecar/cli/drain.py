"""`mcp-sidecar drain`: what a preStop hook runs; knows one HTTP request and imports nothing outside the stdlib."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys

from mcp_sidecar.cli.arguments import Parser, address, seconds
from mcp_sidecar.cli.failures import FAILED, UNAVAILABLE, USAGE, CommandFailed

DEFAULT_HTTP = "127.0.0.1:15080"
_MARGIN = 5.0
"""The sidecar answers when the wait is over; this much later it has missed its own deadline."""


def parser() -> Parser:
    """`--wait SECONDS` and where the sidecar's HTTP listener is."""
    parser = Parser("drain", more="\nNothing listening means nothing to drain: the exit code is 0.\n")
    parser.add_argument("--wait", metavar="SECONDS", type=seconds, default=15.0, help="at most this long (default 15)")
    parser.add_argument(
        "--address",
        metavar="A",
        type=address,
        help=f"the sidecar's HTTP listener (default {DEFAULT_HTTP}; environment: MCP_SIDECAR_HTTP_ADDRESS, "
        "else MCP_SIDECAR_LISTEN_HTTP)",
    )
    return parser


def run(options: argparse.Namespace) -> int:
    """Ask for the drain and wait for its end."""
    where = options.address or _from_environment()
    try:
        answer = _post(where, options.wait)
    except (ConnectionRefusedError, FileNotFoundError):
        print(f"nothing is listening on {where}: nothing to drain", file=sys.stderr)
        return 0
    except TimeoutError as late:
        raise CommandFailed(f"{where} did not answer within {options.wait + _MARGIN:g} s", code=UNAVAILABLE) from late
    except OSError as lost:
        raise CommandFailed(f"{where}: {lost.strerror or lost}", code=UNAVAILABLE) from lost
    return _report(where, answer)


def _from_environment() -> str:
    for name in ("MCP_SIDECAR_HTTP_ADDRESS", "MCP_SIDECAR_LISTEN_HTTP"):
        given = os.environ.get(name)
        if given and given != "off":
            try:
                return address(given)
            except argparse.ArgumentTypeError as bad:
                raise CommandFailed(f"{name}: {bad}", code=USAGE) from bad
    return DEFAULT_HTTP


def _post(where: str, wait: float) -> bytes:
    """The whole answer. `http.client` would double the start-up time of a command that sends one request."""
    body = json.dumps({"wait_seconds": wait}).encode()
    head = (
        "POST /api/drain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with _connect(where) as sidecar:
        sidecar.sendall(head.encode() + body)
        sidecar.settimeout(wait + _MARGIN)
        answer = b""
        while chunk := sidecar.recv(65536):
            answer += chunk
        return answer


def _connect(where: str) -> socket.socket:
    if where.startswith("unix:"):
        local = socket.socket(socket.AF_UNIX)
        local.settimeout(_MARGIN)
        local.connect("/" + where.removeprefix("unix:").lstrip("/"))
        return local
    host, _, port = where.rpartition(":")
    host = host.strip("[]")
    # A listener on every address is reached on the loopback one, and only there it takes this request.
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing is bound here
    return socket.create_connection((loopback, int(port)), timeout=_MARGIN)


def _report(where: str, answer: bytes) -> int:
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].split(b" ")[1:2]
    try:
        outcome = json.loads(body)
        phase, in_flight = str(outcome["phase"]), int(outcome["in_flight"])
    except (ValueError, KeyError, TypeError):
        phase, in_flight = "", -1
    if status != [b"200"] or not phase:
        said = status[0].decode("ascii", "replace") if status else "nothing that is HTTP"
        raise CommandFailed(
            f"{where} answered {said}: is this the HTTP listener of a mcp-sidecar? If it speaks TLS, name the one for"
            " metrics, such as --address 127.0.0.1:15090"
        )
    if in_flight:
        print(f"{phase}, {in_flight} calls still in flight", file=sys.stderr)
        return FAILED
    print(f"{phase}, nothing in flight")
    return 0

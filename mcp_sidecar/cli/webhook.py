"""`mcp-sidecar webhook`: flags to options, then the webhook until a signal says stop; knows nothing of reviews."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys

from mcp_sidecar.cli.arguments import Parser, seconds
from mcp_sidecar.cli.pod_options import add_annotations, add_pod_options, pod_options, wishes
from mcp_sidecar.config.forms import check_tcp
from mcp_sidecar.injection.template import Options
from mcp_sidecar.injection.webhook import WebhookSettings, serve
from mcp_sidecar.logs import Log, Writer

_FILES = "/var/run/secrets/mcp-sidecar.dev/webhook"
_DEFAULTS = ("log-level", "discovery", "drain-seconds", "cpu-request", "memory-limit")
"""Annotations whose values in pods without them can be given."""
_MORE = """
The certificate is read again when it changes. What each new pod gets is what `mcp-sidecar inject` adds.
"""


def parser() -> Parser:
    """Where to listen, with which certificate, and what sidecars are like."""
    parser = Parser("webhook", more=_MORE)
    parser.add_argument(
        "--listen", metavar="ADDR", type=_listen, default="0.0.0.0:8443", help="where to listen (default %(default)s)"
    )
    parser.add_argument("--cert-file", metavar="FILE", default=f"{_FILES}/tls.crt", help="default %(default)s")
    parser.add_argument("--key-file", metavar="FILE", default=f"{_FILES}/tls.key", help="default %(default)s")
    parser.add_argument(
        "--own-namespace",
        metavar="NAME",
        default=os.environ.get("NAMESPACE", ""),
        help="namespace of the webhook, whose pods are left alone (environment: NAMESPACE)",
    )
    parser.add_argument(
        "--lame-duck",
        metavar="SECONDS",
        type=seconds,
        default=5.0,
        help="go on serving for so long after SIGTERM (default 5)",
    )
    add_pod_options(parser)
    add_annotations(parser, _DEFAULTS, "for pods without the annotation {}")
    parser.add_argument("--memory-request", metavar="V", help="memory a sidecar asks for (default 96Mi)")
    return parser


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    host, _, port = options.listen.rpartition(":")
    settings = WebhookSettings(
        host=host.strip("[]"),
        port=int(port),
        cert_file=options.cert_file,
        key_file=options.key_file,
        own_namespace=options.own_namespace,
        lame_duck=options.lame_duck,
    )
    given = {name.replace("-", "_"): value for name, value in wishes(options, _DEFAULTS).items()}
    if options.memory_request:
        given["memory_request"] = options.memory_request
    with asyncio.Runner() as runner:
        writer = Writer(sys.stdout.fileno(), runner.get_loop().call_later)
        log = Log(writer, text=sys.stdout.isatty())
        try:
            runner.run(_serve(settings, pod_options(options, **given), log))
        finally:
            writer.close()
    return 0


def _listen(text: str) -> str:
    """`host:port`; port 0 picks one."""
    try:
        if text == "off":
            raise ValueError("a webhook that does not listen is none")
        check_tcp(text)
    except ValueError as bad:
        raise argparse.ArgumentTypeError(f'"{text}": {bad}') from bad
    return text


async def _serve(settings: WebhookSettings, options: Options, log: Log) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(settings, options, log, stop, lambda host, port: log.info("listening", webhook=f"{host}:{port}"))

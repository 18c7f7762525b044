"""Serves admission reviews over TLS: paths, certificates, the order of its end. Knows nothing of what a review says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mcp_sidecar.injection.admission import NotAReview, answer
from mcp_sidecar.injection.template import Options
from mcp_sidecar.logs import Log
from mcp_sidecar.watched import WatchedFiles
from mcp_sidecar.wire.http_server import TEXT, Listener, Reply, Request, fields
from mcp_sidecar.wire.limits import ServerLimits
from mcp_sidecar.wire.tls import Material, server_material, watch

# A pod of etcd's largest size, twice (`object` and `oldObject`), and what is around it.
_LIMITS: Final = ServerLimits(body_bytes=4 * 1024 * 1024, bodies_bytes=64 * 1024 * 1024, connections=512)
_JSON: Final = fields((b"content-type", b"application/json"))
_INJECT: Final = "/inject"
_LIVE: Final = "/livez"
_READY: Final = "/readyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """Where the webhook listens and how it goes."""

    host: str
    port: int
    cert_file: str
    key_file: str
    own_namespace: str
    """Pods of this namespace are left alone: the webhook's own have to start without it."""
    lame_duck: float
    """Seconds of service after the signal to stop: the API server hears of it later than we do."""


async def serve(
    settings: WebhookSettings,
    options: Options,
    log: Log,
    stop: asyncio.Event,
    started: Callable[[str, int], None],
) -> None:
    """The life of a webhook, until `stop` is set. `started` is called with the bound address.

    Raises `OSError` when the port is taken. Without a certificate it waits for one: no handshake succeeds until then.
    """
    certificate = watch(
        settings.cert_file,
        settings.key_file,
        "",
        server_material,
        lambda trouble: log.warning("tls", trouble=trouble),
        otherwise="nobody is answered",
    )
    desk = Desk(options, settings.own_namespace, log)
    async with asyncio.TaskGroup() as tasks:
        listener = Listener(
            desk.handle,
            _LIMITS,
            tasks,
            on_fault=lambda fault: log.error("fault", error=repr(fault)),
            tls=lambda: _newest(certificate),
            on_handshake=lambda peer, why: log.debug("handshake", peer=peer, error=why),
        )
        started(*await _bound(listener, settings))
        await stop.wait()
        desk.leaving = True
        log.info("draining", lame_duck=settings.lame_duck)
        await asyncio.sleep(settings.lame_duck)
        await listener.close()
    log.info("stopped")


async def _bound(listener: Listener, settings: WebhookSettings) -> tuple[str, int]:
    try:
        return await listener.bind(settings.host, settings.port)
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{settings.host}:{settings.port}") from error


class Desk:
    """Answers each request by its path."""

    def __init__(self, options: Options, own_namespace: str, log: Log) -> None:
        self.leaving = False
        """Not ready any more, but still answering."""
        self._options = options
        self._own_namespace = own_namespace
        self._log = log

    async def handle(self, request: Request, reply: Reply) -> None:
        path, method = request.head.path, request.head.method
        if path == _INJECT and method == "POST":
            self._review(request.body, reply)
        elif path in {_LIVE, _READY} and method in {"GET", "HEAD"}:
            ready = path == _LIVE or not self.leaving
            reply.send(200 if ready else 503, TEXT, b"ok\n" if ready else b"leaving\n")
        elif path in {_INJECT, _LIVE, _READY}:
            reply.send(405, TEXT, b"POST to /inject, GET from the others\n")
        else:
            reply.send(404, TEXT, f"not here; there are {_INJECT}, {_LIVE}, {_READY}\n".encode())

    def _review(self, body: bytes, reply: Reply) -> None:
        try:
            said = answer(body, self._options, self._own_namespace)
        except NotAReview as bad:
            self._log.warning("refused", error=str(bad))
            reply.send(400, TEXT, f"{bad}\n".encode("utf-8", "replace"))
            return
        self._log.info("review", namespace=said.namespace, pod=said.pod, outcome=said.outcome)
        reply.send(200, _JSON, said.body)


def _newest(files: WatchedFiles[Material]) -> ssl.SSLContext:
    if (material := files.current()) is None:
        raise OSError("there is no certificate yet")
    return material.context

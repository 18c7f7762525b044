"""The part of a Kubernetes API server that reviews tokens, on a loopback port, failing on demand; knows no sidecar."""

from __future__ import annotations

import asyncio
import enum
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
AUDIENCE = "mcp-sidecar.dev"


class Fault(enum.Enum):
    """A way to fail; statuses are plain numbers."""

    STALL = "nothing is ever answered"
    GARBAGE = "what is answered is not JSON"
    NOT_HTTP = "what is answered is not HTTP"
    CLOSE = "the connection is closed without a word"


def account(name: str = "agent", pod: str = "agent-0") -> dict[str, Any]:
    """The status for a token that is bound to a pod, as Kubernetes 1.37 says it."""
    extra = {"pod-name": pod, "pod-uid": "u-1", "node-name": "node-1", "credential-id": "JTI=7"}
    user = {
        "username": f"system:serviceaccount:agents:{name}",
        "uid": "s-1",
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "extra": {f"authentication.kubernetes.io/{key}": [value] for key, value in extra.items()},
    }
    return {"authenticated": True, "user": user, "audiences": [AUDIENCE]}


def wrong_audience(token: str) -> dict[str, Any]:
    """As API servers say it: without `authenticated`. The words are chosen to be the worst ones possible."""
    return {"user": {}, "error": f"[invalid bearer token {token}, token audiences are invalid]"}


class TokenReviewer:
    """Answers reviews with `judge(token)`, or fails as `fault` says."""

    def __init__(self) -> None:
        self.judge: Callable[[str], dict[str, Any]] = lambda _: account()
        self.fault: Fault | int | None = None
        self.asked: list[dict[str, Any]] = []
        """The `spec` of every review."""
        self.gate: asyncio.Event | None = None
        """Nothing is answered before it is set."""
        self.port = 0

    def kubeconfig(self, folder: Path) -> str:
        """A file that leads here."""
        named = {"contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "current-context": "c"}
        clusters = [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}]
        users = [{"name": "u", "user": {"token": "sidecars-own"}}]
        file = folder / "kubeconfig"
        file.write_text(
            json.dumps({"apiVersion": "v1", "kind": "Config", "clusters": clusters, "users": users, **named})
        )
        return str(file)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            body = await reader.readexactly(int(fields["content-length"]))
            await self._answer(head, fields, json.loads(body), reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(
        self,
        head: str,
        fields: dict[str, str],
        review: dict[str, Any],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        assert head.startswith(f"POST {PATH} ")
        assert fields["authorization"] == "bearer sidecars-own"
        self.asked.append(review["spec"])
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is Fault.STALL:
            await reader.read()
        elif self.fault is Fault.NOT_HTTP:
            writer.write(b"SSH-2.0-surprise\r\n")
        elif self.fault is not Fault.CLOSE:
            writer.write(self._reply(review))

    def _reply(self, review: dict[str, Any]) -> bytes:
        status = self.fault if isinstance(self.fault, int) else 201
        token = review["spec"]["token"]
        if status != 201:
            body = json.dumps({"kind": "Status", "message": f"no review of {token}", "code": status}).encode()
        elif self.fault is Fault.GARBAGE:
            body = b"<html>" + token.encode()
        else:
            body = json.dumps({**review, "status": self.judge(token)}).encode()
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body


@asynccontextmanager
async def token_reviewer() -> AsyncIterator[TokenReviewer]:
    """A reviewer that listens."""
    reviewer = TokenReviewer()
    server = await asyncio.start_server(reviewer._serve, "127.0.0.1", 0)
    reviewer.port = server.sockets[0].getsockname()[1]
    try:
        yield reviewer
    finally:
        server.close()

"""Answers no server should give, one function each; `RUDE` lists them by name. Knows nothing of polite answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.support.fake_exchange import Exchange
from tests.support.fake_ledger import Message, Received
from tests.support.fake_methods import Method
from tests.support.fake_wire import Wire, event

OVERSIZED = 17 * 1024 * 1024
_DRIP_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a rudeness plays. `serve` answers politely, but with another method than the one asked for."""

    wire: Wire
    received: Received
    url: str
    serve: Callable[[Method], Awaitable[None]]

    def result(self, **changes: Any) -> Message:
        content = [{"type": "text", "text": "rude"}]
        return {"resultType": "complete", "content": content, "isError": False, **changes}

    def final(self, **changes: Any) -> Message:
        """A fine answer to the request, with `changes` to its envelope; None as a value takes the key away."""
        whole = {"jsonrpc": "2.0", "id": self.received.id, "result": self.result(), **changes}
        return {key: value for key, value in whole.items() if value is not None}

    def progress(self, step: int) -> Message:
        token = self.received.meta.get("progressToken", "unasked")
        params = {"progressToken": token, "progress": step, "message": "rude"}
        return {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}

    def stream(self, *messages: Message | list[Message]) -> None:
        """A complete event stream of these messages."""
        self.wire.start_events()
        for message in messages:
            self.wire.chunk(event(message))
        self.wire.end_chunks()

    async def forever(self, piece: bytes, pause: float = 0.0) -> None:
        """Send `piece` again and again, `pause` seconds apart, until the client has had enough."""
        while True:
            if not await self.wire.send(piece):
                return
            await asyncio.sleep(pause)


Rudeness = Callable[[Scene], Awaitable[None]]


async def html200(scene: Scene) -> None:
    scene.wire.respond(200, b"<html><body>Welcome to the proxy login</body></html>", [("content-type", "text/html")])


async def truncated_json(scene: Scene) -> None:
    body = json.dumps(scene.final()).encode()[:-7]
    scene.wire.respond(200, body, [("content-type", "application/json")])


async def truncated_body(scene: Scene) -> None:
    body = json.dumps(scene.final()).encode()
    scene.wire.head(200, [("content-type", "application/json"), ("content-length", str(len(body)))])
    scene.wire.write(body[: len(body) // 2])
    scene.wire.close()


async def endless_body(scene: Scene) -> None:
    scene.wire.head(200, [("content-type", "application/json"), ("transfer-encoding", "chunked")])
    await scene.forever(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


async def oversized(scene: Scene) -> None:
    text = [{"type": "text", "text": "x" * OVERSIZED}]
    scene.wire.respond_json(200, scene.final(result=scene.result(content=text)))


async def oversized_event(scene: Scene) -> None:
    text = [{"type": "text", "text": "x" * OVERSIZED}]
    scene.stream(scene.final(result=scene.result(content=text)))


async def wrong_id(scene: Scene) -> None:
    scene.wire.respond_json(200, scene.final(id="somebody-else"))


async def missing_id(scene: Scene) -> None:
    scene.wire.respond_json(200, scene.final(id=None))


async def two_finals(scene: Scene) -> None:
    second = scene.result(content=[{"type": "text", "text": "second"}])
    scene.stream(scene.final(), scene.final(result=second))


async def result_and_error(scene: Scene) -> None:
    scene.wire.respond_json(200, scene.final(error={"code": -32603, "message": "both"}))


async def not_jsonrpc(scene: Scene) -> None:
    scene.wire.respond_json(200, {"ok": True})


async def result_of_no_shape(scene: Scene) -> None:
    scene.wire.respond_json(200, {"jsonrpc": "2.0", "id": scene.final()["id"], "result": ["done"]})


async def error_of_no_shape(scene: Scene) -> None:
    scene.wire.respond_json(200, {"jsonrpc": "2.0", "id": scene.final()["id"], "error": "boo"})


async def batch_array(scene: Scene) -> None:
    scene.wire.respond_json(200, [scene.final(), scene.progress(1)])


async def batch_event(scene: Scene) -> None:
    scene.stream([scene.progress(1), scene.final(), scene.progress(2)])


async def bad_sse(scene: Scene) -> None:
    scene.wire.start_events()
    scene.wire.chunk(b"data: \xff\xfe not json\n\nevent message\ndata {}\n\n")
    scene.wire.end_chunks()


async def endless_sse_comments(scene: Scene) -> None:
    scene.wire.start_events()
    await scene.forever(b"8\r\n: ping\n\n\r\n")


async def endless_sse_line(scene: Scene) -> None:
    scene.wire.start_events()
    scene.wire.chunk(b"data: ")
    await scene.forever(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


async def endless_progress(scene: Scene) -> None:
    async def run(exchange: Exchange) -> Message:
        step = 0
        while True:
            step += 1
            exchange.notify("notifications/progress", scene.progress(step)["params"])
            await asyncio.sleep(0.001)

    await scene.serve(run)


async def never_answers(scene: Scene) -> None:
    async def run(_: Exchange) -> Message:
        await asyncio.Event().wait()
        return {}

    await scene.serve(run)


async def closes_before_reply(scene: Scene) -> None:
    scene.wire.close()


async def closes_mid_sse(scene: Scene) -> None:
    scene.wire.start_events()
    scene.wire.chunk(event(scene.progress(1)))
    scene.wire.close()


async def ends_without_final(scene: Scene) -> None:
    scene.stream(scene.progress(1))


async def reset(scene: Scene) -> None:
    scene.wire.reset()


async def reset_mid_sse(scene: Scene) -> None:
    scene.wire.start_events()
    scene.wire.chunk(event(scene.progress(1)))
    await asyncio.sleep(0.01)
    scene.wire.reset()


async def status_500(scene: Scene) -> None:
    scene.wire.respond(500, b"Traceback (most recent call last): /srv/secret.py", [("content-type", "text/plain")])


async def status_503(scene: Scene) -> None:
    scene.wire.respond(503, b"busy", [("retry-after", "7"), ("content-type", "text/plain")])


async def status_401(scene: Scene) -> None:
    scene.wire.respond(401, b"", [("www-authenticate", 'Bearer resource_metadata="http://127.0.0.1:1/meta"')])


async def status_307(scene: Scene) -> None:
    scene.wire.respond(307, b"", [("location", scene.url + "/elsewhere")])


async def status_404_once(scene: Scene) -> None:
    error = {"code": -32600, "message": "Session not found"}
    scene.wire.respond_json(404, {"jsonrpc": "2.0", "id": None, "error": error})


async def garbage(scene: Scene) -> None:
    scene.wire.write(bytes(range(256)) * 8)
    scene.wire.close()


async def slow_drip(scene: Scene) -> None:
    """One byte now and then, of a body announced to be long."""
    scene.wire.head(200, [("content-type", "application/json"), ("content-length", "1000000")])
    await scene.forever(b" ", _DRIP_SECONDS)


async def storm_of_1xx(scene: Scene) -> None:
    await scene.forever(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")


async def huge_headers(scene: Scene) -> None:
    scene.wire.respond(200, b"{}", [(f"x-filler-{number}", "x" * 1000) for number in range(1000)])


async def request_on_modern_stream(scene: Scene) -> None:
    """A server-to-client request, which the modern era has not; then the answer as if nothing had happened."""
    scene.stream({"jsonrpc": "2.0", "id": 1, "method": "roots/list", "params": {}}, scene.final())


async def unknown_result_type(scene: Scene) -> None:
    scene.wire.respond_json(200, scene.final(result=scene.result(resultType="com.example/strange", strange={"a": 1})))


async def unasked_notifications(scene: Scene) -> None:
    """Progress for a token nobody gave, and a method nobody knows; then the answer."""
    stray = {"jsonrpc": "2.0", "method": "notifications/com.example/odd", "params": {"x": 1}}
    scene.stream({**scene.progress(1), "params": {"progressToken": "stranger", "progress": 1}}, stray, scene.final())


RUDE: dict[str, Rudeness] = {
    "html200": html200,
    "truncated_json": truncated_json,
    "truncated_body": truncated_body,
    "endless_body": endless_body,
    "oversized": oversized,
    "oversized_event": oversized_event,
    "wrong_id": wrong_id,
    "missing_id": missing_id,
    "two_finals": two_finals,
    "result_and_error": result_and_error,
    "not_jsonrpc": not_jsonrpc,
    "result_of_no_shape": result_of_no_shape,
    "error_of_no_shape": error_of_no_shape,
    "batch_array": batch_array,
    "batch_event": batch_event,
    "bad_sse": bad_sse,
    "endless_sse_comments": endless_sse_comments,
    "endless_sse_line": endless_sse_line,
    "endless_progress": endless_progress,
    "never_answers": never_answers,
    "closes_before_reply": closes_before_reply,
    "closes_mid_sse": closes_mid_sse,
    "ends_without_final": ends_without_final,
    "reset": reset,
    "reset_mid_sse": reset_mid_sse,
    "status_500": status_500,
    "status_503": status_503,
    "status_401": status_401,
    "status_307": status_307,
    "garbage": garbage,
    "slow_drip": slow_drip,
    "huge_headers": huge_headers,
    "request_on_modern_stream": request_on_modern_stream,
    "unknown_result_type": unknown_result_type,
    "unasked_notifications": unasked_notifications,
    "404_once": status_404_once,
    "1xx_storm": storm_of_1xx,
}

# Refused before anything ran: a tool call answered so is not counted as an execution.
REFUSALS = frozenset({"status_500", "status_503", "status_401", "status_307", "404_once"})

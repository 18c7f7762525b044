"""An MCP server on stdio that is polite or not: `python -IS stdio_server.py ERA WAY...`; uses nothing but Python.

ERA is `modern` or `legacy`. The WAYs are rude: see `main`. What it is told on stdin it obeys line by line.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

META = "io.modelcontextprotocol/"
INFO = {"name": "fake-stdio", "version": "1"}
CAPABILITIES = {"tools": {"listChanged": True}, "resources": {"subscribe": True}, "logging": {}}

Message = dict[str, Any]


def write(message: Message | str) -> None:
    text = message if isinstance(message, str) else json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":"))
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Server:
    def __init__(self, era: str, ways: list[str]) -> None:
        self.modern = era == "modern"
        self.ways = ways
        self.asked: dict[str, Any] = {}
        self.listens: list[Any] = []
        self.cancelled: list[Any] = []
        self.answers: list[Any] = []
        self.levels: list[str] = []
        self.subscribed: list[str] = []
        self.client: Message = {}

    def serve(self) -> None:
        for line in sys.stdin:
            self.take(json.loads(line))

    def take(self, message: Message) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method is None:
            self.answers.append(message)
            request = self.asked.pop(message["id"], None)
            if request is not None:
                self.text(request, json.dumps(message.get("result", message.get("error"))))
        elif "id" not in message:
            if method == "notifications/cancelled":
                self.cancelled.append(params["requestId"])
        elif method == ("server/discover" if self.modern else "initialize"):
            self.begin(message)
        elif not self.modern and not self.client and method != "ping":
            self.before_initialize(message)
        elif self.modern and META + "protocolVersion" not in params.get("_meta", {}):
            write({"id": message["id"], "error": {"code": -32602, "message": "no metadata"}})
        else:
            getattr(self, method.replace("/", "_"), self.unknown)(message)

    def begin(self, message: Message) -> None:
        if self.modern:
            result = {"supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES, "resultType": "complete"}
            self.result(message, {**result, "_meta": {META + "serverInfo": INFO}})
            return
        self.client = message["params"]
        version = self.client["protocolVersion"]
        self.result(message, {"protocolVersion": version, "capabilities": CAPABILITIES, "serverInfo": INFO})

    def before_initialize(self, message: Message) -> None:
        if "exits-early" in self.ways:
            sys.exit(3)
        if "silent-early" not in self.ways:
            self.unknown(message)

    def unknown(self, message: Message) -> None:
        write({"id": message["id"], "error": {"code": -32601, "message": "secret-words"}})

    def result(self, message: Message, result: Message) -> None:
        write({"id": message["id"], "result": {"resultType": "complete", **result} if self.modern else result})

    def text(self, message: Message, text: str) -> None:
        self.result(message, {"content": [{"type": "text", "text": text}]})

    # Methods.

    def ping(self, message: Message) -> None:
        if "deaf-to-pings" not in self.ways:
            self.result(message, {})

    def logging_setLevel(self, message: Message) -> None:  # noqa: N802
        self.levels.append(message["params"]["level"])
        self.result(message, {})

    def resources_subscribe(self, message: Message) -> None:
        self.subscribed.append(message["params"]["uri"])
        self.result(message, {})

    def resources_unsubscribe(self, message: Message) -> None:
        self.subscribed.remove(message["params"]["uri"])
        self.result(message, {})

    def tools_list(self, message: Message) -> None:
        self.result(message, {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})

    def subscriptions_listen(self, message: Message) -> None:
        self.listens.append(message["id"])
        self.tell(message["id"], "subscriptions/acknowledged", {"notifications": message["params"]["notifications"]})

    def tools_call(self, message: Message) -> None:
        params = message["params"]
        getattr(self, "tool_" + params["name"])(message, **params.get("arguments", {}))

    def tell(self, listen: Any, what: str, params: Message) -> None:
        stamp = {"_meta": {META + "subscriptionId": listen}} if self.modern else {}
        write({"method": "notifications/" + what, "params": {**params, **stamp}})

    # Tools.

    def tool_echo(self, message: Message, text: str = "") -> None:
        self.text(message, text)

    def tool_seen(self, message: Message, what: str) -> None:
        """Tell what the client has sent so far."""
        self.text(message, json.dumps(getattr(self, what)))

    def tool_meta(self, message: Message) -> None:
        """Tell what came with the request."""
        self.text(message, json.dumps(message["params"].get("_meta", {})))

    def tool_process(self, message: Message) -> None:
        self.text(message, json.dumps({"pid": os.getpid(), "cwd": str(Path.cwd()), "env": dict(os.environ)}))

    def tool_fork(self, message: Message) -> None:
        """Have a child that cares for nothing; its process id."""
        child = os.fork()
        if not child:
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            while True:
                time.sleep(60)
        self.text(message, str(child))

    def tool_hold(self, message: Message) -> None:
        """Never answer."""
        token = message["params"].get("_meta", {}).get("progressToken")
        if token is not None:
            write({"method": "notifications/progress", "params": {"progressToken": token, "progress": 0}})

    def tool_progress(self, message: Message, steps: int) -> None:
        token = message["params"]["_meta"]["progressToken"]
        for step in range(1, steps + 1):
            write({"method": "notifications/progress", "params": {"progressToken": token, "progress": step}})
        self.text(message, f"{steps} steps")

    def tool_log(self, message: Message, text: str) -> None:
        write({"method": "notifications/message", "params": {"level": "info", "data": text}})
        self.text(message, text)

    def tool_ask(self, message: Message) -> None:
        """Pass on what the client answers."""
        self.asked["q1"] = message
        write({"id": "q1", "method": "elicitation/create", "params": {"message": "name?", "requestedSchema": {}}})

    def tool_change(self, message: Message) -> None:
        for listen in self.listens if self.modern else [None]:
            self.tell(listen, "tools/list_changed", {})
        self.text(message, "changed")

    def tool_end_listens(self, message: Message, how: str) -> None:
        for listen in self.listens:
            if how == "result":
                write({"id": listen, "result": {"resultType": "complete", "_meta": {META + "subscriptionId": listen}}})
            else:
                write({"method": "notifications/cancelled", "params": {"requestId": listen}})
        self.listens.clear()
        self.text(message, "ended")

    def tool_die(self, message: Message, code: int = 1) -> None:
        os._exit(code)

    def tool_say(self, message: Message, lines: list[str], answer: bool = True) -> None:
        """Write these lines as they are, then perhaps the answer."""
        for line in lines:
            write(line)
        if answer:
            self.text(message, "said")

    def tool_spaced(self, message: Message, front: str, behind: str) -> None:
        """Answer with white space around the message."""
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": "secret"}]}}
        write(front + json.dumps(answer) + behind)

    def tool_batch(self, message: Message) -> None:
        """Answer in an array with a notification, a question and a log message after the answer."""
        answer = {"id": message["id"], "result": {"content": [{"type": "text", "text": "batched"}]}}
        progress = {"progressToken": message["params"]["_meta"]["progressToken"], "progress": 1}
        told = [answer, {"method": "notifications/progress", "params": progress}, {"id": "b1", "method": "ping"}]
        write(json.dumps([{"jsonrpc": "2.0", **one} for one in told]))

    def tool_big(self, message: Message, size: int) -> None:
        self.text(message, "x" * size)

    def tool_complain(self, message: Message, lines: int, width: int = 10) -> None:
        """Write to stderr."""
        for number in range(lines):
            sys.stderr.write(f"{number} ".ljust(width, "x") + "\n")
        sys.stderr.flush()
        self.text(message, "complained")

    def tool_leave(self, message: Message) -> None:
        """Have a child in a session of its own, which keeps our pipes; its process id."""
        child = os.fork()
        if not child:
            os.setsid()
            time.sleep(60)
            os._exit(0)
        self.text(message, str(child))

    def tool_daemon(self, message: Message) -> None:
        """Have a daemon, as daemons are made: of no session, no parent and no pipe of ours; its process id."""
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.setsid()
            if os.fork():
                os._exit(0)
            os.write(writing, str(os.getpid()).encode())
            for descriptor in range(3):
                os.close(descriptor)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)
            os._exit(0)
        os.waitpid(child, 0)
        self.text(message, os.read(reading, 20).decode())

    def tool_stop_reading(self, message: Message) -> None:
        self.text(message, "deaf")
        time.sleep(600)


def main(era: str, *ways: str) -> None:
    """Ways: `exits-early` and `silent-early` at what comes before `initialize`, `dies` at once, `stubborn` against
    SIGTERM and the end of stdin, `banner` on stdout, `slow` to start, `deaf-to-pings`.
    """
    if "dies" in ways:
        sys.exit("it dies")
    if "banner" in ways:
        write("Welcome to the server!")
    if "slow" in ways:
        time.sleep(0.3)
    if "stubborn" in ways:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Server(era, list(ways)).serve()
    while "stubborn" in ways:
        time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])

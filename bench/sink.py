"""A collector that keeps nothing: OTLP over HTTP on the port in argv, well or, with a mode, sick. Measures nothing.

Usage: python -m bench.sink PORT [ok|slow|hung|busy]
"""

from __future__ import annotations

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_SECONDS = {"slow": 2.0, "hung": 3600.0}


def pause(mode: str) -> None:
    """As long as a collector of this mode takes for an answer."""
    time.sleep(_SECONDS.get(mode, 0.0))


class Sink(BaseHTTPRequestHandler):
    """Answers each POST with an empty message, which means that all of it was taken; late, never or with a 503."""

    mode = "ok"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        pause(self.mode)
        self.send_response(503 if self.mode == "busy" else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the parent's name
        """Nothing."""


if __name__ == "__main__":
    Sink.mode = (sys.argv[2:] or ["ok"])[0]
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Sink).serve_forever()

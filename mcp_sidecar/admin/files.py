"""The files of the page, with headers that let a browser run them and nothing else. Knows nothing of their content."""

from __future__ import annotations

from pathlib import Path

from mcp_sidecar.admin.door import Page, only
from mcp_sidecar.wire.http_server import Reply, Request, fields

_FOLDER = Path(__file__).with_name("static")
_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
POLICY = b"; ".join(
    (
        b"default-src 'none'",
        b"script-src 'self'",
        b"style-src 'self'",
        b"connect-src 'self'",
        b"img-src 'self' data:",
        b"base-uri 'none'",
        b"form-action 'none'",
        b"frame-ancestors 'none'",
        b"require-trusted-types-for 'script'",
        b"trusted-types 'none'",
    )
)
"""Whatever a server calls itself, no script of it runs: text that is taken for markup throws (Trusted Types)."""
GUARDS = fields(
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cache-control", b"no-cache"),
)


def files() -> dict[str, Page]:
    """Every file of the page, by path; `index.html` is `/`."""
    found = {f"/static/{path.name}": path for path in sorted(_FOLDER.iterdir()) if path.suffix in _TYPES}
    found["/"] = found.pop("/static/index.html")
    return {path: only(b"GET", _file(file)) for path, file in found.items()}


def _file(path: Path) -> Page:
    body = path.read_bytes()
    lines = fields((b"content-type", _TYPES[path.suffix])) + GUARDS

    async def show(_request: Request, reply: Reply) -> None:
        reply.send(200, lines, body)

    return show

"""Everything the suite is run against: the table of the conformance suite."""

from __future__ import annotations

from dataclasses import dataclass

from tests.conformance import ways
from tests.conformance.ways import Upstream, Way


@dataclass(frozen=True, slots=True)
class Combination:
    """A way to an upstream, in a revision of MCP. `expected` is a file in `expected/`."""

    name: str
    way: Way
    revision: str
    upstream: Upstream
    expected: str = ""


@dataclass(frozen=True, slots=True)
class ClientCombination:
    """The suite as the server behind the sidecar.

    `revision` is what that server speaks; `face` is `http`, `http-2025` for a client of that era, or `grpc`.
    """

    name: str
    face: str
    revision: str
    expected: str = ""


SERVER_SIDE = (
    # The fixture by itself: what fails below is then not its fault.
    Combination("direct, 2025-06-18, dual", ways.direct, "2025-06-18", "dual"),
    Combination("direct, 2025-11-25, dual", ways.direct, "2025-11-25", "dual"),
    Combination("direct, 2026-07-28, dual", ways.direct, "2026-07-28", "dual"),
    Combination("direct, 2026-07-28, modern-only", ways.direct, "2026-07-28", "modern-only"),
    Combination("direct, 2025-11-25, legacy-only", ways.direct, "2025-11-25", "legacy-only"),
    # The shim by itself, likewise.
    Combination("shim alone, 2025-11-25, dual", ways.shim_alone, "2025-11-25", "dual"),
    # The sidecar.
    Combination("HTTP face, 2026-07-28, dual", ways.http_face, "2026-07-28", "dual"),
    Combination(
        "HTTP face, 2026-07-28, legacy-only", ways.http_face, "2026-07-28", "legacy-only", "http-2026-legacy.yml"
    ),
    Combination("HTTP face, 2025-06-18, dual", ways.http_face, "2025-06-18", "dual"),
    Combination("HTTP face, 2025-11-25, dual", ways.http_face, "2025-11-25", "dual"),
    Combination("HTTP face, 2025-11-25, legacy-only", ways.http_face, "2025-11-25", "legacy-only"),
    Combination("HTTP face, 2025-11-25, modern-only", ways.http_face, "2025-11-25", "modern-only"),
    Combination("CallStream, 2026-07-28, dual", ways.call_stream, "2026-07-28", "dual"),
    Combination("BiDiStream, 2026-07-28, dual", ways.conversation, "2026-07-28", "dual", "bidi-2026.yml"),
    Combination("BiDiStream, 2025-11-25, dual", ways.conversation, "2025-11-25", "dual"),
    Combination("two sidecars, 2026-07-28, dual", ways.two_sidecars, "2026-07-28", "dual"),
)

CLIENT_SIDE = (
    ClientCombination("2026-07-28 server, HTTP client", "http", "2026-07-28", "client-2026-http.yml"),
    ClientCombination("2026-07-28 server, gRPC client", "grpc", "2026-07-28"),
    ClientCombination("2025-11-25 server, HTTP client", "http", "2025-11-25"),
    ClientCombination("2025-11-25 server, gRPC client", "grpc", "2025-11-25"),
    ClientCombination("2026-07-28 server, 2025 HTTP client", "http-2025", "2026-07-28"),
    ClientCombination("2025-11-25 server, 2025 HTTP client", "http-2025", "2025-11-25"),
)

"""The demonstration: starts the parts, plays the acts, tells what happens; knows the terminal and the exit code."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass

from mcp_sidecar.client import DEFAULT_ADDRESS, SidecarClient
from mcp_sidecar.demo.acts import ACTS, SERVER, Act, Scene, Unexpected
from mcp_sidecar.demo.neighbour import Neighbour, NotStarted, neighbour
from mcp_sidecar.demo.server import serving
from mcp_sidecar.errors import SidecarError
from mcp_sidecar.wire.faults import WireFault
from mcp_sidecar.wire.http_client import HttpClient, Origin
from mcp_sidecar.wire.limits import ClientLimits

_ACT_SECONDS = 20.0
_WIDTH = 88
_INTERRUPTED = 130
_TO_TRY = (
    f"tools {SERVER}",
    f"call {SERVER} forecast city=Oslo days=2",
    f"call {SERVER} countdown from=5 --stream",
    "status",
)


@dataclass(slots=True)
class Teller:
    """Prints the story. `colour` is for terminals, `program` is how the reader starts ours, `done`: all is played."""

    colour: bool
    program: str = "mcp-sidecar"
    done: bool = False

    def line(self, text: str = "", style: str = "") -> None:
        """One line; `style` is an ANSI number such as 2 for dim."""
        print(f"\x1b[{style}m{text}\x1b[0m" if self.colour and style else text, flush=True)

    def opening(self, upstream: str, sidecar: Neighbour) -> None:
        """Who is there and where."""
        self.line("mcp-sidecar demo", "1")
        self.line()
        self.line("   this program ── gRPC, HTTP ──▶ sidecar ── MCP ──▶ MCP server")
        self.line()
        self.line(f"   sidecar       gRPC {sidecar.grpc}   HTTP {sidecar.http}")
        self.line(f"   MCP server    {upstream}")
        for name, port in sidecar.moved.items():
            self.line(f"   port {port} is taken: {name} listens elsewhere this time", "33")
        self.line()

    def sent(self, number: int, act: Act) -> None:
        """What is asked, and why it is worth looking at."""
        self.line(f"{number:2}  {act.title}", "1")
        self.line(f"    {act.wire} → {act.sent}")

    def heard(self, text: str) -> None:
        """What comes before the answer."""
        self.line(f"         · {text}", "2")

    def came(self, text: str, seconds: float, *, well: bool) -> None:
        """The answer, or why there is none."""
        mark, style = ("←", "32") if well else ("✗", "31")
        took = f"{seconds * 1000:.1f} ms"
        self.line(f"         {mark} {text}".ljust(_WIDTH - len(took)) + f"  {took}", style)

    def summary(self, calls: int, failures: int) -> None:
        """How it went."""
        self.done = True
        self.line()
        text = f"{failures} of {calls} calls went wrong" if failures else f"{calls} calls, all went well"
        self.line(text, "31" if failures else "32")

    def closing(self, sidecar: Neighbour) -> None:
        """What to try next, ready to be copied."""
        self.line()
        self.line("It keeps serving until Ctrl-C. From another terminal:", "1")
        where = "" if sidecar.grpc == DEFAULT_ADDRESS else f" --address {sidecar.grpc}"
        for words in _TO_TRY:
            self.line(f"   {self.program} {words}{where}")
        self.line(f"   any MCP client: http://{sidecar.http}/servers/{SERVER}/mcp")
        self.line(f"   a browser:      http://{sidecar.http}/")


def run(*, once: bool, colour: bool, program: str, environ: Mapping[str, str]) -> int:
    """Play the acts; 0 when every one went well. Without `once`, keep serving until SIGINT or SIGTERM."""
    teller = Teller(colour, program)
    try:
        return asyncio.run(_show(teller, once=once, environ=environ))
    except asyncio.CancelledError:
        return 0 if teller.done else _INTERRUPTED


async def _show(teller: Teller, *, once: bool, environ: Mapping[str, str]) -> int:
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with serving() as upstream:
        try:
            async with neighbour(f"{SERVER}={upstream}", environ) as sidecar:
                teller.opening(upstream, sidecar)
                failures = await _play(teller, sidecar)
                teller.summary(len(ACTS), failures)
                if not once:
                    teller.closing(sidecar)
                    await asyncio.get_running_loop().create_future()
        except NotStarted as failed:
            teller.line(str(failed), "31")
            failures = 1
    return 1 if failures else 0


async def _play(teller: Teller, sidecar: Neighbour) -> int:
    """Every act in turn, also after one that failed; how many failed."""
    host, _, port = sidecar.http.rpartition(":")
    http = HttpClient(Origin(host, int(port), sidecar.http.encode(), None), ClientLimits())
    failures = 0
    try:
        async with SidecarClient(sidecar.grpc) as grpc:
            scene = Scene(grpc, http, teller.heard)
            for number, act in enumerate(ACTS, 1):
                failures += not await _one(teller, scene, number, act)
    finally:
        http.close()
    return failures


async def _one(teller: Teller, scene: Scene, number: int, act: Act) -> bool:
    teller.sent(number, act)
    started, well = time.monotonic(), False
    try:
        async with asyncio.timeout(_ACT_SECONDS):
            answer, well = await act.play(scene), True
    except (SidecarError, WireFault, Unexpected, TimeoutError) as error:
        answer = f"{type(error).__name__}: {error}"
    teller.came(answer, time.monotonic() - started, well=well)
    return well

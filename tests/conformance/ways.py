"""Where the suite can be sent: each way brings up its processes and yields the URL that leads to the fixture."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Literal

from tests.support.real_servers import RealServer, running, sdk1_python
from tests.support.sidecar_process import SidecarProcess, sidecar_process

Upstream = Literal["dual", "modern-only", "legacy-only"]
Way = Callable[[str], contextlib.AbstractContextManager[str]]

SERVER = "fixture"
_SHOWN = 4000


@contextlib.contextmanager
def fixture(kind: Upstream) -> Iterator[RealServer]:
    """The fixture server: both eras, one of them, or the other SDK."""
    python, module, words = sys.executable, "dual", []
    if kind == "legacy-only":
        python, module = str(sdk1_python()), "legacy"
    elif kind == "modern-only":
        words = ["--modern-only"]
    program = [python, "-m", f"tests.conformance.fixture.{module}"]
    with running(f"{kind}-fixture", lambda port: [*program, str(port), *words]) as server:
        yield server


@contextlib.contextmanager
def direct(url: str) -> Iterator[str]:
    """No sidecar at all: proves the fixture."""
    yield url


@contextlib.contextmanager
def http_face(url: str) -> Iterator[str]:
    """A sidecar, over HTTP."""
    with _sidecar(url) as sidecar:
        yield sidecar.url(SERVER)


@contextlib.contextmanager
def call_stream(url: str) -> Iterator[str]:
    """A sidecar, over gRPC's CallStream."""
    with _sidecar(url) as sidecar, _shim(sidecar.bound["grpc"], "call-stream") as shim:
        yield shim.url


@contextlib.contextmanager
def conversation(url: str) -> Iterator[str]:
    """A sidecar, over gRPC's BiDiStream."""
    with _sidecar(url) as sidecar, _shim(sidecar.bound["grpc"], "conversation") as shim:
        yield shim.url


@contextlib.contextmanager
def shim_alone(url: str) -> Iterator[str]:
    """No sidecar: the fixture (another one than at `url`) right behind a BiDiStream. Proves the shim."""
    program = [sys.executable, "-m", "tests.conformance.plain_engine"]
    with running("plain-engine", lambda port: [*program, str(port)]) as engine:
        with _shim(f"127.0.0.1:{engine.port}", "conversation") as shim:
            yield shim.url


@contextlib.contextmanager
def two_sidecars(url: str) -> Iterator[str]:
    """A sidecar, over HTTP, whose upstream is another sidecar, over gRPC."""
    with _sidecar(url) as far, _sidecar(f"grpc://{far.bound['grpc']}/{SERVER}") as near:
        yield near.url(SERVER)


@contextlib.contextmanager
def _sidecar(url: str) -> Iterator[SidecarProcess]:
    """A sidecar with that upstream; a failure in the block shows the end of its log."""
    with sidecar_process({SERVER: url}) as sidecar:
        try:
            yield sidecar
        except BaseException:
            said = sidecar.out.read_text() + sidecar.err.read_text()
            print(f"---- the sidecar said:\n{said[-_SHOWN:]}", file=sys.stderr)
            raise


def _shim(target: str, rpc: str) -> contextlib.AbstractContextManager[RealServer]:
    program = [sys.executable, "-m", "tests.conformance.shim"]
    return running(f"{rpc}-shim", lambda port: [*program, str(port), target, SERVER, rpc])

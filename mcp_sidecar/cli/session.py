"""A command's time with a running sidecar: one event loop, one client; knows no command."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Coroutine, Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from mcp_sidecar.cli.arguments import sidecar_address, token

if TYPE_CHECKING:
    from mcp_sidecar.client import SidecarClient

Work = Callable[["SidecarClient"], Coroutine[Any, Any, int]]


def with_sidecar(options: argparse.Namespace, work: Work) -> int:
    """Run `work` with a client made from the flags; its exit code."""
    address, bearer = sidecar_address(options), token(options)
    # Read when gRPC is imported, which the client does: its own log lines are not for people.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    import asyncio  # here, because `--help` needs none of it

    from mcp_sidecar.client import SidecarClient

    async def session() -> int:
        async with SidecarClient(address, token=bearer, request_timeout=options.timeout) as client:
            return await work(client)

    return asyncio.run(session())


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest of the known words as a question, else the known words."""
    words = list(known)
    near = get_close_matches(word, words, n=1, cutoff=0.5)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"there are: {', '.join(words)}" if words else "there are none"

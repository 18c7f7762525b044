"""The servers under contract, and what differs between them as data; and how to read an answer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support import raw_http
from tests.support.fake_server import FakeServer
from tests.support.raw_http import Reply
from tests.support.raw_mcp import Legacy, Modern

Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Traits:
    """One server in one era, and how it uses its freedom.

    `fixture` names the fixture of a real server; without it a fake is made with the keywords of `fake`.
    Statuses and codes are what the server answers to the mistake the field is named after.
    """

    era: str
    fixture: str = ""
    fake: dict[str, Any] = field(default_factory=dict)
    echo: tuple[str, str, str] = ("echo", "text", "")  # tool, argument, prefix of the answer
    progress: tuple[str, Arguments] = ("progress", {"steps": 2})
    greeting: str = "fake://greeting"
    prompt: tuple[str, Arguments] = ("greet", {"who": "Bo"})
    completes: bool = True
    logs: bool = True
    tells_of_tools: bool = True
    event_ids: bool = False
    streams_all: bool = False
    dead_session: int = 404
    discover_error: int = -32600
    unknown_tool: int | None = -32602  # None: a result with isError instead of an error
    unknown_method: int = -32601
    unknown_resource: int = -32602
    fails: bool = True
    resume_after: float = 0.0  # seconds the answer needs: a stream resumed before gets nothing that comes later
    not_json: int = -32700
    answers_cancelled: bool = False
    bad_version: tuple[int, int] | None = (400, -32600)  # None: taken for the other era

    @property
    def modern(self) -> bool:
        return self.era == "modern"


_SDK: dict[str, Any] = {"greeting": "demo://greeting", "completes": False, "logs": False, "unknown_tool": None}

CONTESTANTS: dict[str, Traits] = {
    "fake-modern": Traits("modern", fake={"era": "modern"}),
    "fake-modern-sse": Traits("modern", fake={"era": "modern", "answers": "sse"}, streams_all=True),
    "fake-dual-modern": Traits("modern", fake={"era": "dual"}),
    "fake-legacy": Traits("legacy", fake={"era": "legacy"}, unknown_resource=-32002),
    "fake-legacy-sse": Traits(
        "legacy", fake={"era": "legacy", "answers": "sse"}, streams_all=True, unknown_resource=-32002
    ),
    "fake-legacy-priming": Traits(
        "legacy",
        fake={"era": "legacy", "answers": "sse", "priming": True},
        streams_all=True,
        event_ids=True,
        unknown_resource=-32002,
    ),
    "fake-dual-legacy": Traits("legacy", fake={"era": "dual"}, bad_version=None, unknown_resource=-32002),
    "sdk2-modern": Traits("modern", "sdk2_server", **_SDK),
    "sdk2-legacy": Traits("legacy", "sdk2_server", streams_all=True, bad_version=None, answers_cancelled=True, **_SDK),
    "sdk1": Traits(
        "legacy",
        "sdk1_server",
        streams_all=True,
        event_ids=True,
        answers_cancelled=True,
        unknown_method=-32602,
        unknown_resource=0,
        **_SDK,
    ),
    # Sidecars, which look like servers of 2026 whatever is behind them and however they reach it.
    "sidecar-stdio": Traits("modern", "behind_stdio", **_SDK),
    "sidecar-sse": Traits("modern", "behind_sse", **_SDK | {"unknown_resource": 0, "tells_of_tools": False}),
    "sidecar-grpc": Traits("modern", "behind_grpc", **_SDK),
    "everything": Traits(
        "legacy",
        "everything_server",
        echo=("echo", "message", "Echo: "),
        progress=("trigger-long-running-operation", {"duration": 0.02, "steps": 2}),
        greeting="demo://resource/dynamic/text/1",
        prompt=("args-prompt", {"city": "Oslo"}),
        logs=False,
        streams_all=True,
        event_ids=True,
        dead_session=400,
        discover_error=-32000,
        unknown_tool=None,
        fails=False,
        resume_after=0.75,
    ),
}


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server to hold to the contract. `running` is its URL if it runs already."""

    traits: Traits
    running: str

    @contextlib.asynccontextmanager
    async def url(self) -> AsyncIterator[str]:
        if self.running:
            yield self.running
            return
        async with FakeServer(**self.traits.fake) as server:
            yield server.url

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Modern | Legacy]:
        """A client that is ready to call; a legacy one has a session, which ends with the block."""
        async with self.url() as url:
            client = Modern(url) if self.traits.modern else Legacy(url)
            if isinstance(client, Legacy):
                await client.initialize()
            yield client
            await client.close()


def _contestant(request: pytest.FixtureRequest) -> Contestant:
    traits = CONTESTANTS[request.param]
    return Contestant(traits, request.getfixturevalue(traits.fixture).url if traits.fixture else "")


def those(fit: Callable[[Traits], bool] = lambda _: True) -> Any:
    """A fixture that is every fitting contestant in turn.

    Of the session, although it costs nothing to make: a server that a test starts is taken for one it left behind.
    """
    return pytest.fixture(scope="session", params=[name for name, traits in CONTESTANTS.items() if fit(traits)])(
        _contestant
    )


def final(reply: Reply) -> Any:
    """The response, which is the last message and the only one."""
    assert all("method" in message for message in reply.messages[:-1]), reply.messages
    return reply.messages[-1]


def result(reply: Reply) -> Any:
    assert reply.status == 200, reply
    return final(reply)["result"]


def code(reply: Reply) -> Any:
    return final(reply)["error"]["code"]


async def until_given_up(client: Modern | Legacy, text: str) -> None:
    """Wait until the server's tool says that the slow call with this text was cancelled. Raises `TimeoutError`."""
    async with asyncio.timeout(raw_http.SECONDS):
        for pause in itertools.count(1):
            told: str = result(await client.call("given_up"))["content"][0]["text"]
            if text in told.split(","):
                return
            await asyncio.sleep(min(0.05, 0.005 * pause))

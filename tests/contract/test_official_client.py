"""The official client is content with the fake, and the fake's strictness with the official client."""

from __future__ import annotations

from typing import Any

import pytest
from mcp import Client

from tests.support.fake_server import FakeServer

KINDS: list[dict[str, Any]] = [
    {"era": "modern"},
    {"era": "modern", "answers": "sse"},
    {"era": "legacy"},
    {"era": "legacy", "answers": "sse"},
    {"era": "legacy", "answers": "sse", "priming": True},
    {"era": "legacy", "sessions": False},
    {"era": "dual"},
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
async def test_the_official_client_works_with_the_fake_and_breaks_no_rule(kind: dict[str, Any]) -> None:
    steps: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with FakeServer(**kind) as server:
        async with Client(server.url) as client:
            assert "echo" in [tool.name for tool in (await client.list_tools()).tools]
            result = await client.call_tool("add", {"a": 1, "b": 2})
            assert result.structured_content == {"sum": 3}
            await client.call_tool("progress", {"steps": 3}, progress_callback=on_progress)
            assert (await client.call_tool("fail", {})).is_error
            assert (await client.get_prompt("greet", {"who": "Bo"})).messages
            assert (await client.read_resource("fake://greeting")).contents
        assert steps == [1, 2, 3]
        assert server.violations == []
        assert (server.count("initialize") > 0) is (kind["era"] == "legacy")

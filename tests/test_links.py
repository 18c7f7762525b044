"""Real servers behind every transport: whatever carries the messages, the answers are those the server itself gives."""

from __future__ import annotations

import asyncio

import pytest
from mcp import Client

from tests.support.real_servers import RealServer
from tests.support.sidecar_process import SidecarProcess
from tests.test_real_servers import QUESTIONS, SECONDS, answer_of, modern

LINKS = pytest.mark.parametrize(
    ("link", "twin"), [("stdio", "sdk2"), ("stdio1", "sdk1"), ("sse", "sdk1"), ("grpc", "sdk2")]
)


@pytest.mark.covers("B-110", "B-120", "B-130")
@LINKS
async def test_every_answer_is_the_one_the_server_gives_over_http(
    link: str, twin: str, sidecar_of_links: SidecarProcess, sdk2_server: RealServer, sdk1_server: RealServer
):
    url = {"sdk2": sdk2_server.url, "sdk1": sdk1_server.url}[twin]
    async with (
        asyncio.timeout(SECONDS),
        Client(url, cache=None) as direct,
        modern(sidecar_of_links.url(link)) as ours,
    ):
        for number, question in enumerate(QUESTIONS["sdk"]):
            expected, found = await answer_of(direct, question), await answer_of(ours, question)
            assert found == expected, f"question {number}"


@pytest.mark.covers("B-113")
@pytest.mark.parametrize("link", ["stdio", "stdio1", "sse", "grpc"])
async def test_a_client_of_the_legacy_era_has_its_answers_too(link: str, sidecar_of_links: SidecarProcess):
    async with (
        asyncio.timeout(SECONDS),
        Client(sidecar_of_links.url(link), mode="legacy", cache=None) as client,
    ):
        tools = await client.list_tools()
        assert "echo" in {tool.name for tool in tools.tools}

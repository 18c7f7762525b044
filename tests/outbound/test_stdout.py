"""What a program writes to stdout: messages, what is meant as one and is none, and everything else."""

from __future__ import annotations

import pytest

from mcp_sidecar.errors import Execution, UpstreamProtocolError
from tests.outbound.links import Heard, a_call, ask, text_of, tool
from tests.outbound.programs import BOTH_ERAS, fake, linked

both_eras = pytest.mark.parametrize("era", BOTH_ERAS)


@pytest.mark.covers("B-15", "B-112")
@both_eras
@pytest.mark.parametrize(
    "line",
    [
        '{"jsonrpc": "2.0", "id',
        '{"js',
        " {",
        '{"result":{"secret":"cut o',
        '[{"jsonrpc": "2.0", "id',
        '{"id":1,"result":{"secret":1}}',
        '[{"id":1,"result":{"secret":1}}]',
        '{"jsonrpc":"2.0","id":1,"result":{},"error":{}}',
    ],
)
async def test_what_looks_like_a_message_and_is_none_fails_the_calls_and_is_not_repeated(era: str, line: str):
    async with linked(fake(era)) as (_, link):
        with pytest.raises(UpstreamProtocolError) as caught:
            await link.exchange(tool(link, "say", {"lines": [line], "answer": False}), call := a_call(), Heard())
        assert caught.value.execution is call.execution is Execution.UNKNOWN
        assert "secret" not in caught.value.message
        assert await ask(link, "echo", {"text": "another process"}) == "another process"


@pytest.mark.covers("B-112")
@both_eras
async def test_text_on_stdout_is_logged_and_passed_over(era: str):
    async with linked(fake(era, "banner")) as (its, link):
        assert text_of(await link.exchange(tool(link, "say", {"lines": ["debug!", ""]}), a_call(), Heard())) == "said"
        assert its.said("stdout") == ["Welcome to the server!", "debug!"]


@pytest.mark.covers("B-112")
@both_eras
async def test_text_that_begins_like_json_and_is_none_is_text(era: str):
    lines = ["[INFO] starting", "[2026-11-24 00:00:00] ready", "{debug} x", "{'a': 1}", "[1, 2", "[", "\x1b[32mready"]
    async with linked(fake(era)) as (its, link):
        assert text_of(await link.exchange(tool(link, "say", {"lines": lines}), a_call(), Heard())) == "said"
        assert its.said("stdout") == lines


@pytest.mark.covers("B-449")
@both_eras
async def test_json_on_stdout_that_has_nothing_of_a_message_is_passed_over_and_not_shown(era: str):
    async with linked(fake(era)) as (its, link):
        lines = ['{"level":"info","msg":"secret"}', '["secret"]', "[]", '[{"secret": 1}]', "{}"]
        assert text_of(await link.exchange(tool(link, "say", {"lines": lines}), a_call(), Heard())) == "said"
        assert [words.split()[0] for words in its.said("stdout")] == [f"({len(line)}" for line in lines]
        assert "secret" not in str(its.lines)


@pytest.mark.covers("B-449", "B-309")
@both_eras
@pytest.mark.parametrize("front", [" ", "\t", "\r", "\ufeff", "\ufeff \t"])
async def test_a_message_with_white_space_around_it_is_a_message_and_not_in_the_log(era: str, front: str):
    async with linked(fake(era)) as (its, link):
        assert await ask(link, "spaced", {"front": front, "behind": " \t\r"}) == "secret"
        assert its.said("stdout") == []


@both_eras
async def test_endless_text_on_stdout_ends_the_process(era: str):
    async with linked(fake(era)) as (_, link):
        with pytest.raises(UpstreamProtocolError):
            await link.exchange(tool(link, "say", {"lines": ["x"] * 200}), a_call(), Heard())

"""`tools`, `call` and `status` as they are typed, against a gRPC server; the code, stdout and stderr of each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
from pathlib import Path

import pytest

from mcp_sidecar.settings import DrainSettings
from tests.inbound.http.posts import message, post
from tests.support.sidecar import Sidecar
from tests.support.terminal import ended, started, typed
from tests.support.toy_sidecar import PATIENCE, toy_sidecar


async def test_tools_of_one_server_are_a_table_of_names_and_first_lines():
    async with toy_sidecar() as (_, address):
        shown = await typed("tools", "demo", "--address", address)
        lines = shown.out.splitlines()
        assert (shown.code, shown.err) == (0, "")
        assert lines[0].split() == ["NAME", "DESCRIPTION"]
        assert lines[2].split(maxsplit=1) == ["add", "Adds two numbers."]


async def test_tools_of_all_servers_have_a_column_for_the_server_and_failures_hide_nothing():
    async with toy_sidecar() as (_, address):
        shown = await typed("tools", environ={"MCP_SIDECAR_ADDRESS": address})
        assert shown.code == 69
        assert shown.out.splitlines()[1].split()[:2] == ["demo", "echo"]
        assert "down: down: refused" in shown.err


async def test_tools_as_json_are_what_the_server_sent_and_the_server():
    async with toy_sidecar() as (_, address):
        shown = await typed("tools", "demo", "-o", "json", "--address", address)
        tools = json.loads(shown.out)
        assert [tool["name"] for tool in tools] == ["echo", "add", "countdown", "forecast"]
        assert tools[0]["server"] == "demo"
        assert tools[0]["inputSchema"]["required"] == ["text"]


async def test_an_unknown_server_gets_the_nearest_name():
    async with toy_sidecar() as (_, address):
        for words in (["tools", "demmo"], ["call", "demmo", "add"], ["call", "demmo", "add", "a=1"]):
            shown = await typed(*words, "--address", address)
            assert (shown.code, shown.out) == (1, "")
            assert 'no MCP server is called "demmo"; did you mean "demo"?' in shown.err


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (["a=2", "b=40"], ""),
        (['{"a": 2, "b": 40}'], ""),
        (["-"], '{"a": 2, "b": 40}'),
        (["a=2", "--stream", "b=40"], ""),
    ],
)
async def test_a_tool_is_called_with_words_json_or_stdin_and_its_text_is_stdout(words, stdin):
    async with toy_sidecar() as (toy, address):
        shown = await typed("call", "demo", "add", *words, "--address", address, stdin=stdin)
        assert (shown.code, shown.out, shown.err) == (0, "42\n", "")
        assert toy.executions == ["add"]


async def test_streaming_shows_progress_on_stderr_and_only_the_result_on_stdout():
    async with toy_sidecar() as (_, address):
        shown = await typed("call", "demo", "countdown", "from=2", "--stream", "--address", address)
        assert (shown.code, shown.out) == (0, "counted down from 2\n")
        assert shown.err.splitlines() == ["progress 0/2 2 …", "progress 1/2 1 …", "progress 2/2 lift-off"]


@pytest.mark.parametrize("stream", [[], ["--stream"]])
async def test_the_result_as_json_is_the_whole_result_as_it_was_sent(stream):
    async with toy_sidecar() as (_, address):
        shown = await typed(
            "call", "demo", "forecast", "city=Oslo", "days=1", "-o", "json", *stream, "--address", address
        )
        result = json.loads(shown.out)
        assert result["structuredContent"]["city"] == "Oslo"
        assert result["content"][0]["type"] == "text"


async def test_a_failing_tool_is_exit_code_1_with_its_words_on_stderr():
    async with toy_sidecar() as (_, address):
        shown = await typed("call", "demo", "countdown", "from=1000", "--address", address)
        assert (shown.code, shown.out) == (1, "")
        assert "countdown failed:\nfrom: expected 1 to 100\n" in shown.err


@pytest.mark.parametrize("words", [["a=1"], [], ["{}"], ["{}", "--stream"]])
async def test_an_unknown_tool_gets_the_nearest_name(words):
    async with toy_sidecar() as (_, address):
        shown = await typed("call", "demo", "ad", *words, "--address", address)
        assert (shown.code, shown.out) == (1, "")
        assert 'demo has no tool "ad"; did you mean "add"?' in shown.err


async def test_a_value_of_the_wrong_type_is_bad_usage_and_nothing_is_called():
    async with toy_sidecar() as (toy, address):
        shown = await typed("call", "demo", "add", "a=two", "--address", address)
        assert shown.code == 2
        assert 'a: expected a number, such as 2.5, got "two"' in shown.err
        assert toy.executions == []


async def test_a_server_that_is_down_is_exit_code_69_with_what_to_do():
    async with toy_sidecar() as (toy, address):
        shown = await typed("call", "down", "add", "{}", "--address", address)
        assert shown.code == 69
        assert "try again in 2 s" in shown.err
        assert toy.metadata[-1]["x-request-id"] in shown.err


async def test_ctrl_c_cancels_the_call_and_ends_quietly():
    async with toy_sidecar(pace=60) as (toy, address):
        process = await started("call", "demo", "countdown", "from=5", "--address", address)
        await toy.until(lambda: toy.executions == ["countdown"])
        process.send_signal(signal.SIGINT)
        shown = await ended(process)
        assert (shown.code, shown.out, shown.err) == (130, "", "")
        await toy.until(lambda: toy.cancelled == ["countdown"])


async def test_a_call_that_takes_too_long_says_that_it_may_have_run():
    async with toy_sidecar(pace=60) as (_, address):
        shown = await typed("call", "demo", "countdown", '{"from": 5}', "--timeout", "0.3", "--address", address)
        assert shown.code == 1
        assert "the call may have run" in shown.err
        assert "--timeout SECONDS" in shown.err


async def test_a_token_file_opens_the_door_and_a_missing_one_is_named(tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    async with toy_sidecar(token="s3cret") as (_, address):
        assert (await typed("tools", "demo", "--token-file", str(token), "--address", address)).code == 0
        refused = await typed("tools", "demo", "--address", address)
        assert (refused.code, "--token-file FILE" in refused.err) == (1, True)
        missing = await typed("tools", "--token-file", str(tmp_path / "none"), "--address", address)
        assert (missing.code, "No such file" in missing.err) == (2, True)


async def test_status_shows_servers_and_connections():
    async with toy_sidecar() as (_, address):
        shown = await typed("status", "--address", address)
        servers, connections = shown.out.strip().split("\n\n")
        demo = ["demo", "up", "1", "2026-07-28", "http://127.0.0.1:8000/mcp", "2 (1 leaving)", "Service tools/demo"]
        assert re.split(r"  +", servers.splitlines()[1].strip()) == demo
        assert "configuration" in servers.splitlines()[2]
        assert servers.splitlines()[2].split()[-1] == "refused"
        assert connections.splitlines()[1].split()[:4] == ["c-1", "demo", "127.0.0.1:8000", "connected"]


async def test_status_as_json_has_every_field():
    async with toy_sidecar() as (_, address):
        shown = json.loads((await typed("status", "-o", "json", "--address", address)).out)
        assert [server["state"] for server in shown["servers"]] == ["up", "down"]
        assert [end["state"] for end in shown["servers"][0]["endpoints"]] == ["ready", "leaving"]
        assert [server["origin"] for server in shown["servers"]] == ["Service tools/demo", ""]
        assert shown["connections"][0]["calls"] == 7
        assert shown["connections"][0]["since"].endswith("Z")


@pytest.mark.parametrize("output", ["table", "json"])
async def test_status_watch_in_a_pipe_is_a_line_for_every_change(output):
    async with toy_sidecar() as (toy, address), asyncio.timeout(PATIENCE):
        process = await started("status", "--watch", "-o", output, "--address", address)
        assert process.stdout is not None
        first = await _line_with(process, "c-1")
        assert output == "table" or json.loads(first)["initial"] is True
        toy.connection.id = "c-2"
        toy.changes.put_nowait(toy.connection)
        second = await _line_with(process, "c-2")
        assert output == "table" or json.loads(second)["initial"] is False
        process.send_signal(signal.SIGINT)
        assert (await ended(process)).code == 0


@pytest.mark.covers("B-334")
@pytest.mark.parametrize("output", ["table", "json"])
async def test_status_watch_in_a_pipe_says_when_the_sidecar_goes_and_comes_back(output):
    async with contextlib.AsyncExitStack() as first, asyncio.timeout(PATIENCE):
        _, address = await first.enter_async_context(toy_sidecar())
        process = await started("status", "--watch", "-o", output, "--address", address)
        assert process.stdout is not None
        await _line_with(process, "c-1")
        await first.aclose()
        said = await _line_with(process, "gone")
        assert json.loads(said)["sidecar"] == "gone" if output == "json" else "the sidecar is gone: " in said
        async with toy_sidecar(address):
            said = await _line_with(process, "back")
            assert json.loads(said)["sidecar"] == "back" if output == "json" else "the sidecar is back" in said
            await _line_with(process, "c-1")
            process.send_signal(signal.SIGINT)
            assert (await ended(process)).code == 0


async def test_status_watch_with_nobody_there_ends_at_once():
    shown = await typed("status", "--watch", "--address", "127.0.0.1:1")
    assert shown.code == 69
    assert "is `mcp-sidecar serve` running?" in shown.err


@pytest.mark.covers("B-438")
@pytest.mark.parametrize("output", ["table", "json"])
async def test_status_watch_in_a_pipe_tells_of_servers_without_connections_and_of_a_drain(output):
    drain = DrainSettings(lame_duck=2.5, grace=5.0)
    async with Sidecar({"never": "http://127.0.0.1:9/mcp"}, drain=drain) as sidecar, asyncio.timeout(PATIENCE * 3):
        process = await started("status", "--watch", "-o", output, "--address", sidecar.address("grpc"))
        first = await _line_with(process, "never")
        assert "unknown" in first
        assert output == "table" or json.loads(first)["initial"] is True
        await post(sidecar.url("never"), message())
        second = await _line_with(process, "never")
        assert "down" in second
        if output == "json":
            shown = json.loads(second)
            assert (shown["initial"], shown["server"]["state"]) == (False, "down")
            assert "cannot be reached" in shown["server"]["last_error"]
            assert "connection" not in shown
        sidecar.stop()
        said = await _line_with(process, "the sidecar is" if output == "table" else "sidecar")
        assert "draining" in said
        said = await _line_with(process, "the sidecar is" if output == "table" else '"sidecar"')
        assert "gone" in said
        process.send_signal(signal.SIGINT)
        assert (await ended(process)).code == 0


async def _line_with(process: asyncio.subprocess.Process, words: str) -> str:
    """The next line that has these words in it."""
    assert process.stdout is not None
    while line := (await process.stdout.readline()).decode():
        if words in line:
            return line
    raise AssertionError(f"it ended without a line with {words!r}")

"""The commands people type, against a sidecar that runs in a process of its own."""

from __future__ import annotations

import json

import pytest

from tests.inbound.waiting import eventually
from tests.support.fake_server import FakeServer
from tests.support.raw_mcp import Modern
from tests.support.sidecar_process import run, sidecar_process


@pytest.mark.covers("B-10")
async def test_tools_are_listed_called_and_their_connections_shown():
    async with FakeServer("modern") as modern, FakeServer("legacy") as legacy:
        with sidecar_process({"new": modern.url, "old": legacy.url}) as sidecar:
            where = ("--address", sidecar.bound["grpc"])
            code, out, err = await run("tools", *where)
            assert (code, err) == (0, "")
            assert out.count(" echo ") == 2
            code, out, _ = await run("tools", "old", "-o", "json", *where)
            assert code == 0
            assert "echo" in [tool["name"] for tool in json.loads(out)]

            assert await run("call", "new", "echo", "text=7", *where) == (0, "7\n", "")
            code, out, err = await run("call", "old", "progress", '{"steps": 2}', "--stream", *where)
            assert (code, out) == (0, "2 steps\n")
            assert "progress 1/2 step 1 of 2" in err
            assert "log info step 2" in err

            code, out, err = await run("call", "new", "fail", "text=oh", *where)
            assert (code, out) == (1, "")
            assert "oh" in err
            code, out, err = await run("call", "new", "ecko", *where)
            assert code == 1
            assert 'did you mean "echo"?' in err

            code, out, _ = await run("status", "-o", "json", *where)
            shown = json.loads(out)
            assert code == 0
            assert {one["server"]: one["era"] for one in shown["connections"]} == {"new": "modern", "old": "legacy"}
            assert {one["name"]: one["state"] for one in shown["servers"]} == {"new": "up", "old": "up"}
            code, out, _ = await run("status", *where)
            assert code == 0
            assert "connected" in out


async def test_nobody_listening_is_unavailable_and_says_what_to_do():
    for words in (("tools",), ("call", "up", "echo"), ("status",)):
        code, out, err = await run(*words, "--address", "127.0.0.1:9", "--timeout", "5")
        assert (code, out) == (69, "")
        assert "mcp-sidecar serve" in err
    code, _, err = await run("drain", "--address", "127.0.0.1:9")
    assert code == 0  # nothing to drain
    assert "nothing" in err


async def test_check_says_what_serve_would_say(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("upstreams: [{name: up, url: http://127.0.0.1:9/mcp}]\n")
    code, _, err = await run("check", "-c", str(config))
    assert (code, err) == (0, "")
    config.write_text("upstreams: [{name: up, url: 7}]\ndrian: {}\n")
    code, _, err = await run("check", "-c", str(config))
    assert code == 64
    assert "upstreams[0].url" in err
    assert "drain" in err


@pytest.mark.covers("B-62")
async def test_drain_waits_for_the_calls_and_tells_how_many_are_left():
    async with FakeServer() as up:
        with sidecar_process({"up": up.url}, environ={"MCP_SIDECAR_DRAIN_GRACE": "20s"}) as sidecar:
            held = {"name": "hold", "arguments": {"gate": "g", "text": "late"}}
            async with Modern(sidecar.url("up")).opened("tools/call", held, progressToken=1) as stream:
                code, out, err = await run("drain", "--wait", "0.05", "--address", sidecar.bound["http"])
                assert (code, out) == (1, "")
                assert "1 calls still in flight" in err
                code, _, err = await run("call", "up", "echo", "text=x", "--address", sidecar.bound["grpc"])
                assert code == 69
                assert "shutting down" in err
                up.release("g")
                last = [one async for one in stream.messages()][-1]
                assert last["result"]["content"][0]["text"] == "late"
            code, out, err = await run("drain", "--address", sidecar.bound["http"])
            assert (code, out, err) == (0, "draining, nothing in flight\n", "")
            assert sidecar.process.poll() is None  # the signal comes from the kubelet
            await eventually(lambda: sidecar.calls(name="hold", code="OK"))

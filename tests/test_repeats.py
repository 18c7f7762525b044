"""A storm of the same warning is a few lines and a number."""

from __future__ import annotations

import json

import pytest

from mcp_sidecar.logs import Log
from mcp_sidecar.repeats import Repeats


class Clock:
    """Time that tests turn."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.covers("B-312")
def test_a_storm_of_one_warning_is_a_few_lines_and_the_next_one_says_how_many_there_were():
    clock, lines = Clock(), list[bytes]()
    log = Log(lines.append, repeats=Repeats(burst=3, seconds=60, clock=clock))
    for _ in range(100):
        log.warning("connection", server="up", state="DISCONNECTED")
    log.warning("connection", server="other", state="DISCONNECTED")
    assert [json.loads(line)["server"] for line in lines] == ["up"] * 3 + ["other"]
    clock.now = 61.0
    log.warning("connection", server="up", state="DISCONNECTED")
    assert json.loads(lines[-1])["held_back"] == 97
    log.warning("connection", server="up", state="DISCONNECTED")
    assert "held_back" not in json.loads(lines[-1])


def test_what_it_remembers_is_bounded():
    repeats = Repeats(burst=1)
    for number in range(1000):
        repeats.admit("event", str(number))
    assert len(repeats._kinds) == 256

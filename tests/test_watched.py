"""Files that are read as one while others replace them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mcp_sidecar.watched import WatchedFiles
from tests.support.certificates import Mounted
from tests.wire.loopback import Clock


@pytest.mark.covers("B-288")
def test_files_that_are_swapped_while_they_are_read_are_never_mixed(tmp_path: Path):
    files = Mounted(tmp_path / "v", a=b"0", b=b"0")
    done = threading.Event()

    def swap() -> None:
        for version in range(1, 300):
            files.replace(a=b"%d" % version, b=b"%d" % version)
        done.set()

    seen: list[tuple[bytes, ...]] = []
    told: list[str] = []

    def parse(both: tuple[bytes, ...]) -> tuple[bytes, ...]:
        seen.append(both)
        return both

    watched = WatchedFiles((files.path("a"), files.path("b")), parse, told.append)
    thread = threading.Thread(target=swap)
    thread.start()
    while not done.is_set():
        watched.look()
    thread.join()
    watched.look()
    assert watched.value == (b"299", b"299")
    assert all(a == b for a, b in seen)
    assert all("the files change all the time" in line for line in told)


def test_trouble_is_told_once_and_is_over_with_the_next_good_reading(tmp_path: Path):
    clock = Clock()
    told: list[str] = []
    (file := tmp_path / "a").write_text("good")

    def parse(contents: tuple[bytes, ...]) -> bytes:
        if contents[0] == b"bad":
            raise ValueError("it is bad")
        return contents[0]

    watched = WatchedFiles((str(file),), parse, told.append, clock, name="the file")
    for contents in ("bad", "bad", "better"):
        file.write_text(contents)
        clock.now += 1.0
        watched.current()
    assert told == ["cannot use the file: it is bad; what was read before stays in force"]
    assert (watched.value, watched.trouble, watched.generation) == (b"better", "", 2)

"""Lines come out whole, however the bytes were cut, and none is longer than it may be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.protocol.lines import Lines

TEXT = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r\n", b"", b"{}", b"\xff"]), max_size=30).map(b"".join)


@given(TEXT, st.lists(st.integers(0, 60), max_size=5))
def test_lines_are_the_same_wherever_the_stream_is_cut(text: bytes, cuts: list[int]):
    lines, found, at = Lines(1000), [], 0
    for cut in [*sorted(cuts), len(text)]:
        found += lines.feed(text[at:cut])
        at = max(at, cut)
    *whole, rest = text.split(b"\n")
    assert found == [line.removesuffix(b"\r") for line in whole]
    assert lines.rest() == rest
    assert not lines.overlong


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_a_line_that_is_too_long_is_cut_and_noted(chunks: list[bytes]):
    lines = Lines(7)
    found = [line for chunk in chunks for line in lines.feed(chunk)]
    text = b"".join(chunks).split(b"\n")
    assert all(len(line) <= 7 for line in [*found, lines.rest()])
    assert len(found) == len(text) - 1
    assert lines.overlong is any(len(line) > 7 for line in text)

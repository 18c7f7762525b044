"""What a line on a program's output is taken for: `protocol.spoken`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.errors import InvalidCall
from mcp_sidecar.protocol import jsonrpc
from mcp_sidecar.protocol.spoken import Line, bare, is_usual, judge

MESSAGE = b'{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"x"}]}}'


@pytest.mark.covers("B-112")
@given(st.integers(1, len(MESSAGE) - 1), st.sampled_from((MESSAGE, b"[%b]" % MESSAGE, MESSAGE.replace(b":", b" : "))))
def test_a_message_that_was_cut_off_anywhere_is_taken_for_one(end: int, whole: bytes):
    cut = whole[:end]
    if cut != b"[":
        assert is_usual(cut) or judge(bare(cut)) is Line.MESSAGE


@pytest.mark.covers("B-449")
@given(st.text(" \t\r"), st.text(" \t\r"), st.booleans())
def test_white_space_around_a_message_is_taken_away(front: str, behind: str, mark: bool):
    line = ("\ufeff" if mark else "").encode() + front.encode() + MESSAGE + behind.encode()
    assert bare(line) == MESSAGE and judge(MESSAGE) is Line.MESSAGE


@given(st.binary(max_size=60) | st.text('{["]}: jsonrpcid1', max_size=30).map(str.encode))
def test_what_is_passed_over_is_no_message(line: bytes):
    if judge(bare(line)) is not Line.MESSAGE:
        with pytest.raises(InvalidCall):
            jsonrpc.parse(bare(line))


def test_what_is_nested_too_deeply_to_be_read_is_no_failure_of_ours():
    assert judge(b"[" * 100_000) is Line.WORDS
    assert judge(b'{"a":' * 100_000) is Line.MESSAGE

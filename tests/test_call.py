"""What travels with a request: `mcp_sidecar.call`."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.call import ANONYMOUS, NO_TRACE, Call, Deadline, Trace, fit_request_id, new_request_id, trace
from mcp_sidecar.errors import Execution

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{ID}-00f067aa0ba902b7-01"


def test_a_deadline_is_a_point_that_time_moves_toward():
    deadline = Deadline.after(60)
    assert 59 < deadline.remaining() <= 60
    assert Deadline(time.monotonic() - 5).remaining() == 0.0
    assert Deadline.after(-1).remaining() == 0.0


def test_the_sooner_of_two_deadlines_wins_and_none_is_never_sooner():
    early, late = Deadline(1.0), Deadline(2.0)
    assert early.sooner(late) is late.sooner(early) is early
    assert late.sooner(None) is late


@pytest.mark.covers("B-35")
@pytest.mark.parametrize("given_id", ["a", "x" * 128, "!~", "0b9-…".replace("…", "_"), '"quoted"'])
def test_a_fit_request_id_is_taken(given_id: str):
    assert fit_request_id(given_id) == given_id


@pytest.mark.covers("B-35")
@pytest.mark.parametrize(
    "given_id", [None, "", "x" * 129, "a b", "é", "a\n", "a\r\nx: y", "\x00", "\x7f", "a\t", "\u2028"]
)
def test_an_unfit_request_id_is_not_taken(given_id: str | None):
    assert fit_request_id(given_id) is None


@pytest.mark.covers("B-35")
def test_request_ids_of_ours_differ():
    made = new_request_id()
    assert len(made) == 32 and int(made, 16) >= 0
    assert made != new_request_id()


@given(st.text(max_size=140))
def test_whatever_is_given_a_request_id_can_be_a_header_and_a_word_in_a_log(text):
    found = fit_request_id(text) or new_request_id()
    assert 1 <= len(found) <= 128
    assert all("!" <= letter <= "~" for letter in found)


@pytest.mark.covers("B-35")
def test_trace_context_is_passed_on_as_it_is():
    found = trace(PARENT, "vendor=1,x=y", "user=a%20b")
    assert found == Trace(PARENT, "vendor=1,x=y", "user=a%20b")
    assert found.trace_id == ID


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        f"00-{ID.upper()}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{ID}-{'0' * 16}-01",
        f"ff-{ID}-00f067aa0ba902b7-01",
        f"00-{ID}-00f067aa0ba902b7-1",
        f"00-{ID}-00f067aa0ba902b7-01\n",
        f"00-{ID}-00f067aa0ba902b7-01\r\nx-evil: 1",
        f" {PARENT}",
        f"{PARENT}-extra",
        f"{PARENT}-",
        f"cc{PARENT[2:]}extra",
        f"cc{PARENT[2:]}-{'x' * 300}",
        "é" + PARENT[1:],
    ],
)
def test_a_malformed_parent_is_dropped_with_its_state_and_the_baggage_stays(parent: str):
    assert trace(parent, "a=b", "user=1") == Trace("", "", "user=1")
    assert trace(parent, "a=b", None) == NO_TRACE
    assert trace(parent, "a=b", None).trace_id == ""


@pytest.mark.parametrize("value", ["é", "a\r\nb", "x" * 8193, "a\x00", "\x7f"])
def test_state_and_baggage_that_no_header_can_hold_are_dropped_and_harm_nothing_else(value: str):
    assert trace(PARENT, f"s={value}", "b=1") == Trace(PARENT, "", "b=1")
    assert trace(PARENT, "s=1", value) == Trace(PARENT, "s=1", "")


def test_a_parent_of_a_later_version_may_have_more_fields():
    later = f"cc{PARENT[2:]}-what-ever"
    assert trace(later, "s=1", None) == Trace(later, "s=1", "")


@pytest.mark.parametrize("state", ["a=1,,=b;;", "a", "a=", "A=1", "a=1=2", ",", ",".join(f"k{n}=v" for n in range(33))])
def test_a_state_that_is_no_list_of_members_is_dropped_whole(state: str):
    assert trace(PARENT, state, None) == Trace(PARENT, "", "")


@pytest.mark.parametrize("state", ["a=1", "t@v=x y,b=2", "a=1, b=2,,", '0/_-*@="!', f"a={'x' * 256}"])
def test_a_state_is_passed_on_as_it_is(state: str):
    assert trace(PARENT, state, None) == Trace(PARENT, state, "")


def test_nothing_given_is_no_trace():
    assert trace(None, "a=b", None) is NO_TRACE


def test_a_call_begins_with_nothing_known_and_nothing_run():
    call = Call("/x/Y", "rid", authorization="Bearer secret")
    assert call.execution is Execution.NONE
    assert (call.principal, call.trace, call.deadline) == (ANONYMOUS, NO_TRACE, None)
    assert "secret" not in repr(call)
    assert call.started <= time.monotonic()

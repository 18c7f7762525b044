"""The tables of a legacy conversation: `protocol.session`."""

from __future__ import annotations

import itertools

import pytest

from mcp_sidecar.protocol.jsonrpc import Request
from mcp_sidecar.protocol.session import LOG_LEVELS, Session, loud_enough


def progress(token: bytes) -> Request:
    return Request("notifications/progress", params={"progressToken": token, "progress": b"1.0"}, meta={"x": b"1"})


@pytest.mark.covers("B-14")
def test_equal_tokens_of_two_callers_are_told_apart_and_given_back():
    session = Session("2025-11-25")
    asked = Request("tools/call", b'"mine"', {"name": b'"a"'}, {"progressToken": b'"t"', "x": b"1"})
    first, sent = session.register(asked)
    second, _ = session.register(Request("tools/call", b'"mine"', meta={"progressToken": b'"t"'}))
    assert first != second and b"mine" not in first + second
    assert sent.meta == {"progressToken": first, "x": b"1"} and sent.params == asked.params
    assert asked.meta["progressToken"] == b'"t"'  # the caller's own request is as it was
    told = session.restore(progress(second))
    assert told == Request(
        "notifications/progress", params={"progressToken": b'"t"', "progress": b"1.0"}, meta={"x": b"1"}
    )
    session.release(second)
    assert session.restore(progress(second)) is None
    assert session.restore(progress(first)) is not None


def test_a_request_without_a_token_is_sent_as_it_is_and_has_no_progress():
    session = Session("2025-11-25")
    asked = Request("tools/list", b"7")
    request_id, sent = session.register(asked)
    assert sent is asked
    assert session.restore(progress(request_id)) is None
    session.release(request_id)


@pytest.mark.parametrize("token", [b'"1"', b"1.0", b"null", b"[1]", b" 1"])
def test_a_token_that_was_not_given_out_in_that_spelling_is_a_stranger(token: bytes):
    session = Session("2025-11-25")
    session.register(Request("tools/call", meta={"progressToken": b"1"}))
    assert session.restore(progress(token)) is None
    assert session.restore(Request("notifications/progress")) is None


def test_progress_about_an_open_question_gets_the_servers_own_token_back():
    session = Session("2025-11-25")
    question = Request("elicitation/create", b"1", {"message": b'"?"'}, {"progressToken": b"1", "x": b"2"})
    with session.asking(question, b'"ours"') as asked, session.asking(question, b'"other"'):
        assert (asked.params, asked.meta) == (question.params, {"progressToken": b'"ours"', "x": b"2"})
        told = session.reported(progress(b'"ours"'))
        assert told is not None and told.params["progressToken"] == b"1"
        for stranger in (b"1", b'"our"', b'"theirs"'):
            assert session.reported(progress(stranger)) is None
    assert session.reported(progress(b'"ours"')) is None
    assert session.reported(Request("notifications/progress")) is None


def test_a_question_without_a_token_is_asked_as_it_is():
    question = Request("roots/list", b"1")
    with Session("2025-11-25").asking(question, b'"ours"') as asked:
        assert asked is question


def test_the_most_talkative_wish_so_far_decides_what_is_asked_for():
    session = Session("2025-11-25")
    assert all(session.wants_level(level) for level in LOG_LEVELS)
    session.log_level = "warning"
    assert [level for level in LOG_LEVELS if session.wants_level(level)] == ["debug", "info", "notice"]
    assert not session.wants_level("loud") and not session.wants_level("")


def test_a_log_message_passes_from_its_level_up():
    for (said, message), (asked, level) in itertools.product(enumerate(LOG_LEVELS), repeat=2):
        notification = Request("notifications/message", params={"level": b'"%b"' % message.encode()})
        assert loud_enough(notification, level) is (said >= asked)


@pytest.mark.parametrize("level", [b'"loud"', b"1", b"null"])
def test_a_log_message_of_unknown_level_passes(level: bytes):
    assert loud_enough(Request("notifications/message", params={"level": level}), "emergency")
    assert loud_enough(Request("notifications/message"), "emergency")

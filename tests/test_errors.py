"""The words for failures: `mcp_sidecar.errors`."""

from __future__ import annotations

import inspect

import pytest

from mcp_sidecar import errors
from mcp_sidecar.errors import Blame, Execution, SidecarError

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SidecarError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_failure_says_who_has_to_act_and_why_in_a_word(kind: type[SidecarError]):
    assert isinstance(kind.blame, Blame)
    assert "reason" in vars(kind), "a word of its own: programs tell failures by it"


def test_a_failure_did_not_run_unless_it_says_so():
    failure = SidecarError("no")
    assert (failure.message, str(failure)) == ("no", "no")
    assert failure.execution is Execution.NONE
    assert (failure.violations, failure.retry_after, failure.metadata) == ((), None, {})


def test_a_failure_keeps_its_facts_to_itself():
    facts = {"server": "up"}
    failure = errors.PoolExhausted("full", retry_after=1.5, metadata=facts, violations=(("a", "b"),))
    facts["server"] = "other"
    assert (failure.metadata, failure.retry_after, failure.violations) == ({"server": "up"}, 1.5, (("a", "b"),))
    assert isinstance(failure, errors.Exhausted)


@pytest.mark.covers("B-425")
def test_a_failure_is_short_whatever_its_caller_wrote():
    long = "n" * 5000
    failure = errors.NotFound(long, metadata={"server": long}, violations=((long, long),))
    unspoken = errors.UnsupportedVersion(long, ("2026-07-28",))
    assert failure.message == str(failure) == "n" * 1023 + "…"
    assert [len(word) for pair in failure.violations for word in pair] == [256, 256]
    assert [len(unspoken.requested), len(failure.metadata["server"])] == [128, 256]
    assert unspoken.message.endswith("…' is not supported here; supported: 2026-07-28")


def test_who_is_to_blame_follows_from_what_went_wrong():
    blamed = {kind.__name__: kind.blame for kind in KINDS}
    clients = ("InvalidCall", "UnsupportedVersion", "UnknownTool", "Denied", "TooLarge", "SendQueueFull", "Cancelled")
    assert {blamed[name] for name in clients} == {Blame.CLIENT}
    assert {blamed[name] for name in ("UpstreamLost", "UpstreamUnavailable", "UpstreamRefused")} == {Blame.UPSTREAM}
    assert {blamed[name] for name in ("Bug", "Draining", "Overloaded", "PoolExhausted")} == {Blame.SIDECAR}


def test_an_unsupported_version_names_what_is_supported():
    failure = errors.UnsupportedVersion("1999", ("2026-07-28", "2025-11-25"))
    assert "'1999'" in failure.message and "2026-07-28, 2025-11-25" in failure.message
    assert failure.requested == "1999"
    assert failure.metadata == {"requested": "1999", "supported": "2026-07-28, 2025-11-25"}


def test_a_refusal_of_a_server_is_done_and_keeps_code_and_data():
    failure = errors.UpstreamRefused(-32602, "unknown tool", b'{"x":1}')
    assert (failure.code, failure.data, failure.execution) == (-32602, b'{"x":1}', Execution.DONE)

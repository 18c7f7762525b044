"""Which calls get a span: parents first, then chance, and callers' wishes within limits."""

from __future__ import annotations

import re

import pytest

from mcp_sidecar.call import NO_TRACE, Call, Trace, trace
from mcp_sidecar.sampling import FORCED_A_SECOND, Sampler

IDS = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
WANTED, UNWANTED = (trace(f"00-{IDS}-{flags}", "vendor=1", "k=v") for flags in ("01", "00"))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def decided(sampler: Sampler, context: Trace = NO_TRACE) -> Call:
    call = Call("/a.B/C", "rid", trace=context)
    sampler.decide(call)
    return call


def test_a_call_without_a_parent_is_traced_with_the_chance_that_was_set():
    chances = iter((0.049, 0.051))
    sampler = Sampler(0.05, chance=lambda: next(chances))
    first, second = decided(sampler), decided(sampler)
    assert (first.sampled, second.sampled) == (True, False)
    assert first.span is not None
    assert second.span is None
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", first.span.traceparent)
    assert (first.span.parent_id, first.span.started) == ("", first.started)


def test_a_call_that_is_not_traced_says_so_to_those_who_are_asked_for_a_part_of_it():
    one, other = (decided(Sampler(0.0), trace(None, None, "k=v")) for _ in range(2))
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", one.trace.traceparent)
    assert (one.trace.tracestate, one.trace.baggage) == ("", "k=v")
    assert trace(one.trace.traceparent, None, "k=v") == one.trace != other.trace
    assert decided(Sampler(1.0), one.trace).sampled is False
    assert decided(Sampler(0.0), UNWANTED).trace == UNWANTED


def test_a_callers_decision_counts_and_its_trace_goes_on():
    sampler = Sampler(0.0, chance=lambda: 0.0)
    assert decided(sampler, UNWANTED).span is None
    span = decided(sampler, WANTED).span
    assert span is not None
    assert (f"{span.trace_id}-{span.parent_id}", span.tracestate, span.baggage) == (IDS, "vendor=1", "k=v")


def test_a_caller_who_does_not_want_a_trace_is_not_traced_by_chance():
    assert decided(Sampler(1.0), UNWANTED).sampled is False


@pytest.mark.parametrize("flags", ["03", "ff", "81"])
def test_flags_of_later_versions_change_nothing(flags: str):
    assert decided(Sampler(0.0), trace(f"00-{IDS}-{flags}", None, None)).sampled


def test_callers_cannot_force_more_traces_a_second_than_there_is_room_for():
    clock = Clock()
    sampler = Sampler(0.0, clock=clock)
    assert sum(bool(decided(sampler, WANTED).sampled) for _ in range(500)) == FORCED_A_SECOND
    assert sampler.capped == 500 - FORCED_A_SECOND
    clock.now += 0.5
    assert sum(bool(decided(sampler, WANTED).sampled) for _ in range(500)) == FORCED_A_SECOND / 2


def test_the_transports_own_context_becomes_a_link():
    call = Call("/a.B/C", "rid", trace=WANTED, ambient=UNWANTED)
    Sampler(0.0).decide(call)
    assert call.span is not None
    assert call.span.link == UNWANTED.traceparent


def test_a_trace_holds_a_bounded_number_of_legs_and_counts_the_rest():
    span = decided(Sampler(1.0)).span
    assert span is not None
    for _ in range(100):
        assert span.leg("tools/call").parent_id == span.span_id
    assert (len(span.legs), span.lost) == (64, 36)
    assert len({leg.span_id for leg in span.legs}) == 64

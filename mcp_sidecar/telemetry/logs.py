"""A call's log line as a log record of the SDK. Knows no exporter."""

from __future__ import annotations

import time
from typing import NamedTuple

import msgspec
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from mcp_sidecar.inbound.chain import CallLine
from mcp_sidecar.telemetry.traces import SCOPE, fit

_SEVERITY = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
}
_SAID_ELSEWHERE = {"time", "level", "event", "trace_id"}


class Ended(NamedTuple):
    """A line, when its call ended (monotonic seconds), and the span of a sampled one, empty for others."""

    line: CallLine
    at: float
    span_id: str


class Logs:
    """Turns lines into records of `resource`."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    def of(self, ended: Ended) -> ReadableLogRecord:
        """The record of a call that has ended."""
        line = ended.line
        fields = msgspec.structs.asdict(line)
        at = int((time.time() - time.monotonic() + ended.at) * 1e9)
        record = LogRecord(
            timestamp=at,
            observed_timestamp=at,
            context=_context(line.trace_id, ended.span_id),
            severity_text=line.level.upper(),
            severity_number=_SEVERITY[line.level],
            body=fit(line.error) or f"{fit(line.method or line.rpc)} {line.code}",
            attributes={
                f"mcp_sidecar.{name}": fit(value) if isinstance(value, str) else value
                for name, value in fields.items()
                if name not in _SAID_ELSEWHERE and value != ""
            },
            event_name=f"mcp_sidecar.{line.event}",
        )
        return ReadableLogRecord(record, self._resource, SCOPE)


def _context(trace_id: str, span_id: str) -> Context:
    """Where a record belongs: to the trace that its line names, and to the span of a call that was traced."""
    if not trace_id:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if span_id else TraceFlags.DEFAULT)
    context = SpanContext(int(trace_id, 16), int(span_id or "0", 16), is_remote=False, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(context), Context())

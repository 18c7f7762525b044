"""The words for what can go wrong; knows no protocol and no numbers (those stand in `inbound.status`)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import ClassVar

_LONGEST = 1024
_LONGEST_FACT = 256
_LONGEST_VERSION = 128


class Execution(enum.Enum):
    """Whether a call may have run on the MCP server (docs/architecture.md, "Execution certainty")."""

    NONE = "none"
    UNKNOWN = "unknown"
    DONE = "done"


class Blame(enum.Enum):
    """Who has to act for the error to go away."""

    CLIENT = "client"
    SIDECAR = "sidecar"
    UPSTREAM = "upstream"


class SidecarError(Exception):
    """A failure with a name. `message` is for the caller to read: it holds no secret, address or stack.

    `violations` are (field, what is wrong with it) pairs; `retry_after` is in seconds; `metadata` are the facts a
    program needs to act (server, tool, …). All of them are cut where they are made: callers choose some of the words in
    them, by the megabyte if they like, and a failure is told in answers and kept among the last calls.
    """

    reason: ClassVar[str] = "SIDECAR_ERROR"
    blame: ClassVar[Blame] = Blame.SIDECAR

    def __init__(
        self,
        message: str,
        *,
        execution: Execution = Execution.NONE,
        violations: tuple[tuple[str, str], ...] = (),
        retry_after: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        message = _cut(message, _LONGEST)
        super().__init__(message)
        self.message = message
        self.execution = execution
        self.violations = tuple((_cut(field, _LONGEST_FACT), _cut(what, _LONGEST_FACT)) for field, what in violations)
        self.retry_after = retry_after
        self.metadata = {name: _cut(fact, _LONGEST_FACT) for name, fact in (metadata or {}).items()}


class InvalidCall(SidecarError):
    """The message breaks a rule of JSON-RPC, MCP or our API.

    `message_id` is its id as JSON text, where that could be read.
    """

    reason = "INVALID_CALL"
    blame = Blame.CLIENT
    message_id: bytes = b""


class MalformedMessage(InvalidCall):
    """The message is not JSON at all (JSON-RPC parse error)."""

    reason = "MALFORMED_MESSAGE"


class InvalidParams(InvalidCall):
    """The request is well-formed, its parameters are not (JSON-RPC invalid params)."""

    reason = "INVALID_PARAMS"


class HeaderMismatch(InvalidCall):
    """Headers or mirror fields say something else than the message they travel with."""

    reason = "HEADER_MISMATCH"


class UnsupportedVersion(InvalidCall):
    """The caller asked for an MCP revision that is not spoken here."""

    reason = "UNSUPPORTED_VERSION"

    def __init__(self, requested: str, supported: tuple[str, ...]) -> None:
        requested = _cut(requested, _LONGEST_VERSION)
        super().__init__(
            f"MCP version {requested!r} is not supported here; supported: {', '.join(supported)}",
            metadata={"requested": requested, "supported": ", ".join(supported)},
        )
        self.requested = requested
        self.supported = supported


class HttpRefused(InvalidCall):
    """The HTTP around the message is wrong; the answer is a status of its own, with a header perhaps."""

    reason = "HTTP_REFUSED"

    def __init__(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class UnknownMethod(SidecarError):
    """No such RPC, or no such MCP method."""

    reason = "UNKNOWN_METHOD"
    blame = Blame.CLIENT


class NotFound(SidecarError):
    """Something was named that is not there."""

    reason = "NOT_FOUND"
    blame = Blame.CLIENT


class UnknownUpstream(NotFound):
    reason = "UNKNOWN_SERVER"


class UnknownTool(NotFound):
    reason = "UNKNOWN_TOOL"


class UnknownPrompt(NotFound):
    reason = "UNKNOWN_PROMPT"


class UnknownResource(NotFound):
    reason = "UNKNOWN_RESOURCE"


class UnknownTask(NotFound):
    reason = "UNKNOWN_TASK"


class UnknownConnection(NotFound):
    reason = "UNKNOWN_CONNECTION"


class UnknownSession(NotFound):
    """There is no such session, or it is another caller's."""

    reason = "UNKNOWN_SESSION"


class Unauthenticated(SidecarError):
    """No credentials, or credentials that do not hold."""

    reason = "UNAUTHENTICATED"
    blame = Blame.CLIENT


class Denied(SidecarError):
    """The caller is known and may not do this."""

    reason = "DENIED"
    blame = Blame.CLIENT


class Exhausted(SidecarError):
    """A limit of the sidecar is reached; trying later may work."""

    reason = "EXHAUSTED"


class PoolExhausted(Exhausted):
    reason = "POOL_EXHAUSTED"


class Overloaded(Exhausted):
    reason = "OVERLOADED"


class TooLarge(Exhausted):
    reason = "TOO_LARGE"
    blame = Blame.CLIENT


class SendQueueFull(Exhausted):
    reason = "SEND_QUEUE_FULL"
    blame = Blame.CLIENT


class Unavailable(SidecarError):
    """The way to the MCP server is closed."""

    reason = "UNAVAILABLE"


class Draining(Unavailable):
    reason = "DRAINING"


class UpstreamUnavailable(Unavailable):
    """The server could not be reached: nothing was sent."""

    reason = "UPSTREAM_UNAVAILABLE"
    blame = Blame.UPSTREAM


class UpstreamLost(Unavailable):
    """The server went away after the call was sent: it may have run."""

    reason = "UPSTREAM_LOST"
    blame = Blame.UPSTREAM


class UpstreamProtocolError(SidecarError):
    """The server answered with something that is not MCP."""

    reason = "UPSTREAM_PROTOCOL"
    blame = Blame.UPSTREAM


class UpstreamRefused(SidecarError):
    """The server answered with a JSON-RPC error; only the typed RPCs turn it into a failure."""

    reason = "UPSTREAM_REFUSED"
    blame = Blame.UPSTREAM

    def __init__(self, code: int, message: str, data: bytes = b"") -> None:
        super().__init__(message, execution=Execution.DONE, metadata={"jsonrpc_code": str(code)})
        self.code = code
        self.data = data


class DeadlineExceeded(SidecarError):
    reason = "DEADLINE_EXCEEDED"


class Cancelled(SidecarError):
    """The caller no longer wants the answer, or a task of ours was cancelled by another."""

    reason = "CANCELLED"
    blame = Blame.CLIENT


class Bug(SidecarError):
    """We broke it. The caller learns the request id and nothing else."""

    reason = "INTERNAL"


def _cut(text: str, most: int) -> str:
    """At most so many characters, of which the last says that there were more."""
    return text if len(text) <= most else text[: most - 1] + "…"

"""May this call be sent once more? Knows no clock and no connection."""

from __future__ import annotations

from fnmatch import fnmatchcase

from mcp_sidecar.errors import Draining, Execution, SidecarError, Unavailable
from mcp_sidecar.outbound.legacy_refusals import SessionLost
from mcp_sidecar.protocol.eras import CALL_TOOL, REPEATABLE
from mcp_sidecar.protocol.jsonrpc import Request
from mcp_sidecar.settings import ToolSettings

_MOST_ENDPOINTS = 4  # where one call may fail before its caller is told
_LONGEST_PAUSE = 1.0  # seconds; a server that wants more is left alone and the caller told


def may_repeat(error: SidecarError, request: Request, tools: ToolSettings) -> bool:
    """True when the call cannot have run, or is safe to run twice (docs/architecture.md, "Execution certainty")."""
    if not isinstance(error, Unavailable) or isinstance(error, Draining):
        return False
    if isinstance(error, SessionLost):
        return False  # its link has sent it again already, in a session of its own
    if (error.retry_after or 0.0) > _LONGEST_PAUSE:
        return False
    if error.execution is Execution.NONE:
        return True
    return error.execution is Execution.UNKNOWN and is_repeatable(request, tools)


def may_go_elsewhere(error: SidecarError, tried: int) -> bool:
    """True when another endpoint may have the call: it has not run at those that were `tried`.

    Unlike a repetition this loads nobody twice, so it needs no pause, and is not counted as one.
    """
    unavailable = isinstance(error, Unavailable) and not isinstance(error, Draining)
    return unavailable and error.execution is Execution.NONE and tried < _MOST_ENDPOINTS


def is_repeatable(request: Request, tools: ToolSettings) -> bool:
    """Running it twice does what running it once does."""
    if "inputResponses" in request.params or "requestState" in request.params:
        return False  # the state of a multi-round call may be good for one use only
    if request.method == CALL_TOOL:
        return any(fnmatchcase(request.text("name") or "", pattern) for pattern in tools.retry)
    return request.method in REPEATABLE

"""What a failure is to the person at the terminal: a sentence, what to do next, an exit code; knows no command."""

from __future__ import annotations

import traceback
from pathlib import Path

from mcp_sidecar import errors
from mcp_sidecar.cli.tables import plain

FAILED, USAGE, CONFIGURATION, UNAVAILABLE = 1, 2, 64, 69


class CommandFailed(Exception):
    """A command gives up: `message` for stderr, and the exit code."""

    def __init__(self, message: str, *, code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def explain(error: Exception) -> tuple[str, int]:
    """The sentence and the exit code for whatever ended a command."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # a TaskGroup wraps what ends it
    if isinstance(error, CommandFailed):
        return error.message, error.code
    if isinstance(error, errors.SidecarError):
        code = UNAVAILABLE if isinstance(error, errors.Unavailable) else FAILED
        return f"{plain(error.message)}{_advice(error)}", code
    if isinstance(error, OSError):
        return f"{error.filename or 'system error'}: {error.strerror or error}", FAILED
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    return f"this is a bug, please report it: {type(error).__name__}: {error} ({place})", FAILED


def _advice(error: errors.SidecarError) -> str:
    lines = [f"  {field}: {wrong}" for field, wrong in error.violations]
    if error.retry_after:
        lines.append(f"  try again in {error.retry_after:g} s")
    if error.reason == "SIDECAR_UNREACHABLE":
        lines.append("  is `mcp-sidecar serve` running? another address is given with --address or MCP_SIDECAR_ADDRESS")
    elif isinstance(error, errors.Unauthenticated):
        lines.append("  the sidecar wants a token: --token-file FILE")
    elif isinstance(error, errors.DeadlineExceeded):
        lines.append("  a longer wait is given with --timeout SECONDS")
    elif isinstance(error, errors.Unavailable):
        lines.append("  `mcp-sidecar status` shows the servers and what is wrong with them")
    if error.execution is errors.Execution.UNKNOWN:
        lines.append("  the call may have run")
    request_id = getattr(error, "request_id", "")
    if request_id and error.reason != "SIDECAR_UNREACHABLE":
        lines.append(f"  request id in the sidecar's log: {request_id}")
    return "".join("\n" + line for line in lines)

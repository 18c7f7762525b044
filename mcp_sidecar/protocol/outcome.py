"""What the end of a call says of its success, and whose the failure is; knows nothing else of it."""

from __future__ import annotations

import msgspec

from mcp_sidecar.errors import Blame, SidecarError, UpstreamRefused
from mcp_sidecar.protocol import eras, jsonrpc

TOOL_ERROR = "tool_error"
_OTHER = "_OTHER"
CALLERS_FAULT = frozenset(map(str, eras.CALLERS_FAULT))
"""Faults that are no errors of the one who answers."""


class _Outcome(msgspec.Struct):
    isError: bool = False  # noqa: N815  # the wire's spelling


_outcome = msgspec.json.Decoder(_Outcome)


def failed(result: bytes) -> bool:
    """The result (JSON text) is a failed tool's. Raises `msgspec.DecodeError` for one that cannot be read."""
    return _outcome.decode(result).isError


def fault_in(response: jsonrpc.Response) -> str:
    """What the conventions want to see of an answer: a code of JSON-RPC, or that the tool failed; empty for neither."""
    if response.error is not None:
        said = jsonrpc.read_error(response)
        return str(said[0]) if said else _OTHER
    result = response.result
    # Looking for words is a hundredth of decoding, and nearly every answer is without one of them.
    if result is None or b"true" not in result or b'"isError"' not in result:
        return ""
    try:
        return TOOL_ERROR if failed(result) else ""
    except msgspec.DecodeError:
        return ""


def is_callers(failure: SidecarError | None, fault: str) -> bool:
    """What only its caller did wrong, or did not want any more, is no error of the one who answers.

    `fault` is that of the answer, if there was one. What a typed RPC makes of an answer is judged as the answer is.
    """
    if isinstance(failure, UpstreamRefused):
        return str(failure.code) in CALLERS_FAULT
    return fault in CALLERS_FAULT if failure is None else failure.blame is Blame.CLIENT

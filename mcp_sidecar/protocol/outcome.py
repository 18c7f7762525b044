"""What a tool says of its own success; knows nothing else of a result."""

from __future__ import annotations

import msgspec


class _Outcome(msgspec.Struct):
    isError: bool = False  # noqa: N815  # the wire's spelling


_outcome = msgspec.json.Decoder(_Outcome)


def failed(result: bytes) -> bool:
    """The result (JSON text) is a failed tool's. Raises `msgspec.DecodeError` for one that cannot be read."""
    return _outcome.decode(result).isError

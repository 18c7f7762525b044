"""Do the headers of a modern request say what its body says? (MCP 2026-07-28, streamable-http, "Server validation")

Over gRPC they are metadata of the same names.
"""

from __future__ import annotations

from mcp_sidecar.errors import HeaderMismatch, InvalidParams, UnsupportedVersion
from mcp_sidecar.protocol import eras, headers
from mcp_sidecar.protocol.jsonrpc import Request, as_string
from mcp_sidecar.wire.headers import Headers

_MODERN = frozenset(version.encode() for version in eras.MODERN_VERSIONS)
_PREFIX_LENGTH = len(headers.PARAM_PREFIX)


def check(request: Request, given: Headers) -> str:
    """The name that both give, empty where the method names nothing.

    Raises `HeaderMismatch`, `InvalidParams` for missing metadata, or `UnsupportedVersion`.
    """
    version = _one(given, headers.PROTOCOL_VERSION)
    if version not in _MODERN:
        raise UnsupportedVersion(version.decode("latin-1"), eras.MODERN_VERSIONS)
    if request.id:
        _check_meta(request, version)
    elif given.get(headers.METHOD) is None:
        return ""  # notifications need not name their method
    if (said := _one(given, headers.METHOD)) != request.method.encode():
        raise HeaderMismatch(f"Mcp-Method says {said[:128].decode('latin-1')!r}, the body {request.method!r}")
    if (field := headers.NAMED_BY.get(request.method)) is not None:
        return _check_name(request, field, given)
    return ""


def _check_meta(request: Request, version: bytes) -> None:
    meta = request.meta
    for key in (eras.META_VERSION, eras.META_CAPABILITIES):
        if key not in meta:
            field = f"params._meta.{key}"
            raise InvalidParams(f'"{field}" is required', violations=((field, "is required"),))
    if meta[eras.META_CAPABILITIES][:1] != b"{":
        field = f"params._meta.{eras.META_CAPABILITIES}"
        raise InvalidParams(f'"{field}" must be an object', violations=((field, "must be an object"),))
    if meta[eras.META_VERSION] != b'"%b"' % version and as_string(meta[eras.META_VERSION]) != version.decode():
        raise HeaderMismatch("MCP-Protocol-Version and the version in params._meta differ")


def _check_name(request: Request, field: str, given: Headers) -> str:
    name = request.text(field)
    if name is None:
        raise InvalidParams(f'"params.{field}" must be a string', violations=((f"params.{field}", "must be a string"),))
    if headers.decode(_one(given, headers.NAME)) != name:
        raise HeaderMismatch(f"Mcp-Name and params.{field} differ")
    return name


def _one(given: Headers, name: bytes) -> bytes:
    """The value of a header that must be there once."""
    value = given.get(name)
    if value is None:
        raise HeaderMismatch(f"the header {name.decode()} is missing")
    if given.repeated and len(given.all(name)) > 1:
        raise HeaderMismatch(f"the header {name.decode()} is there twice")
    return value


def mirrored(given: Headers) -> tuple[tuple[bytes, bytes], ...]:
    """The `Mcp-Param-*` headers, which an intermediary passes on (ibid., "Custom headers").

    Raises `HeaderMismatch` for one that is there twice: servers may read either.
    """
    pairs = [pair for pair in given.pairs if pair[0][:_PREFIX_LENGTH] == headers.PARAM_PREFIX]
    if pairs and given.repeated and len(dict(pairs)) < len(pairs):
        raise HeaderMismatch("an Mcp-Param header is there twice")
    return tuple(pairs)

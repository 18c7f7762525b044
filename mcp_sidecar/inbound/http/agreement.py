"""Do the headers of a modern request say what its body says? (MCP 2026-07-28, streamable-http, "Server validation")"""

from __future__ import annotations

from mcp_sidecar.errors import HeaderMismatch, InvalidParams, UnsupportedVersion
from mcp_sidecar.protocol import eras, headers
from mcp_sidecar.protocol.jsonrpc import Request, as_string
from mcp_sidecar.wire.http_server import Headers


def check(request: Request, given: Headers) -> None:
    """Raises `HeaderMismatch`, `InvalidParams` for missing metadata, or `UnsupportedVersion`."""
    version = _one(given, headers.PROTOCOL_VERSION)
    if version not in eras.MODERN_VERSIONS:
        raise UnsupportedVersion(version, eras.MODERN_VERSIONS)
    _check_meta(request, version)
    if not request.id and given.get(headers.METHOD) is None:
        return  # notifications need not name their method
    if (said := _one(given, headers.METHOD)) != request.method:
        raise HeaderMismatch(f"Mcp-Method says {said[:128]!r}, the body {request.method!r}")
    if request.method in headers.NAMED_BY:
        _check_name(request, given)


def _check_meta(request: Request, version: str) -> None:
    if not request.id:
        return
    for key in (eras.META_VERSION, eras.META_CAPABILITIES):
        if key not in request.meta:
            field = f"params._meta.{key}"
            raise InvalidParams(f'"{field}" is required', violations=((field, "is required"),))
    if request.meta[eras.META_CAPABILITIES][:1] != b"{":
        field = f"params._meta.{eras.META_CAPABILITIES}"
        raise InvalidParams(f'"{field}" must be an object', violations=((field, "must be an object"),))
    if as_string(request.meta[eras.META_VERSION]) != version:
        raise HeaderMismatch("MCP-Protocol-Version and the version in params._meta differ")


def _check_name(request: Request, given: Headers) -> None:
    field = headers.NAMED_BY[request.method]
    name = request.text(field)
    if name is None:
        raise InvalidParams(f'"params.{field}" must be a string', violations=((f"params.{field}", "must be a string"),))
    if headers.decode(_one(given, headers.NAME).encode("latin-1")) != name:
        raise HeaderMismatch(f"Mcp-Name and params.{field} differ")


def _one(given: Headers, name: bytes) -> str:
    """The value of a header that must be there once."""
    value = given.get(name)
    if value is None:
        raise HeaderMismatch(f"the header {name.decode()} is missing")
    if given.repeated and len(given.all(name)) > 1:
        raise HeaderMismatch(f"the header {name.decode()} is there twice")
    return value.decode("latin-1").strip(" \t")


def mirrored(given: Headers) -> tuple[tuple[bytes, bytes], ...]:
    """The `Mcp-Param-*` headers, which an intermediary passes on (ibid., "Custom headers").

    Raises `HeaderMismatch` for one that is there twice: servers may read either.
    """
    pairs = tuple(pair for pair in given.pairs if pair[0].startswith(headers.PARAM_PREFIX))
    if given.repeated and len(dict(pairs)) < len(pairs):
        raise HeaderMismatch("an Mcp-Param header is there twice")
    return pairs

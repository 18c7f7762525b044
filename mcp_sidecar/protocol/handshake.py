"""How a conversation begins: `server/discover` in the modern era, `initialize` in the legacy one; knows no wire."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from mcp_sidecar.errors import InvalidCall
from mcp_sidecar.protocol import eras
from mcp_sidecar.protocol.jsonrpc import Request, members

VERSION = "0.1.0"
CLIENT_INFO = b'{"name":"mcp-sidecar","version":"%b"}' % VERSION.encode()


@dataclass(frozen=True, slots=True)
class ServerProfile:
    """What a server says of itself, as JSON text: `capabilities` and `info` are objects, `instructions` a string;
    any but `version` may be empty.
    """

    version: str
    capabilities: bytes = b"{}"
    info: bytes = b""
    instructions: bytes = b""

    @property
    def title(self) -> tuple[str, str]:
        """The server's own name and version, empty where it gives none."""
        try:
            info = _info.decode(self.info)
        except msgspec.DecodeError:
            return "", ""
        return info.name, info.version


class _Info(msgspec.Struct):
    name: str = ""
    version: str = ""


class _Initialized(msgspec.Struct):
    protocolVersion: str  # noqa: N815  # the wire's spelling


class _Discovered(msgspec.Struct):
    supportedVersions: list[str]  # noqa: N815


class _Versions(msgspec.Struct):
    supported: list[str]


class _Unsupported(msgspec.Struct):
    data: _Versions


_info = msgspec.json.Decoder(_Info)
_initialized = msgspec.json.Decoder(_Initialized)
_discovered = msgspec.json.Decoder(_Discovered)
_unsupported = msgspec.json.Decoder(_Unsupported)


def modern_meta(capabilities: bytes = b"{}", info: bytes = CLIENT_INFO) -> dict[str, bytes]:
    """The members that every modern request carries in `params._meta`."""
    return {
        eras.META_VERSION: b'"%b"' % eras.LATEST_MODERN.encode(),
        eras.META_CLIENT: info,
        eras.META_CAPABILITIES: capabilities,
    }


def discover_request() -> Request:
    """Asks a modern server who it is."""
    return Request(eras.DISCOVER, meta=modern_meta())


def initialize_request(version: str, capabilities: bytes, info: bytes = CLIENT_INFO) -> Request:
    """Begins a legacy session, offering one version."""
    params = {"protocolVersion": b'"%b"' % version.encode(), "capabilities": capabilities, "clientInfo": info}
    return Request("initialize", params=params)


def discovered(result: bytes) -> ServerProfile | None:
    """The profile in a `DiscoverResult`; None when it offers no revision that we speak.

    Raises `InvalidCall` when it offers one and is no such result otherwise.
    """
    try:
        offered = _discovered.decode(result).supportedVersions
    except msgspec.DecodeError:
        return None  # servers of 2025 exist that answer what they do not know with an empty result
    spoken = next((version for version in eras.MODERN_VERSIONS if version in offered), None)
    if spoken is None:
        return None
    found = members(result, "result")
    members(found.get("capabilities", b"{}"), "capabilities")
    meta = members(found.get("_meta", b"{}"), "result._meta")
    # `serverInfo` moved into `_meta` late; early servers have it beside the capabilities.
    info = meta.get(eras.META_SERVER, found.get("serverInfo", b""))
    return ServerProfile(spoken, found.get("capabilities", b"{}"), info, found.get("instructions", b""))


def shared_version(error: bytes) -> str | None:
    """The modern revision that both sides speak, going by the error -32022 of a server; None when it names none."""
    try:
        offered = _unsupported.decode(error).data.supported
    except msgspec.DecodeError:
        return None
    return next((version for version in eras.MODERN_VERSIONS if version in offered), None)


def initialized(result: bytes) -> ServerProfile:
    """The profile in an `InitializeResult`. Raises `InvalidCall` for versions that we do not speak."""
    try:
        version = _initialized.decode(result).protocolVersion
    except msgspec.DecodeError as error:
        raise InvalidCall("its answer to initialize names no protocol version") from error
    if version not in eras.LEGACY_VERSIONS:
        raise InvalidCall("it counter-offered an MCP version that is not spoken here")
    found = members(result, "result")
    members(found.get("capabilities", b"{}"), "capabilities")
    return ServerProfile(
        version, found.get("capabilities", b"{}"), found.get("serverInfo", b""), found.get("instructions", b"")
    )

"""Which MCP servers there are: the sections `upstreams`, `merge` and `discovery`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated

from mcp_sidecar.documented import Doc, Seconds


@dataclass(frozen=True, slots=True)
class UpstreamAuthSettings:
    """How the sidecar proves itself to an upstream."""

    bearer_file: Annotated[
        str,
        Doc(
            "File with the bearer token to send; must be readable when the configuration is, and may be replaced at any"
            " time (kubelets rotate projected tokens).",
            form="file",
        ),
    ] = ""


@dataclass(frozen=True, slots=True)
class UpstreamTlsSettings:
    """TLS towards an `https`, `sse+https` or `grpcs` upstream. The files are read again when they change."""

    ca_file: Annotated[
        str, Doc("Authorities to trust instead of the system's (or those of `SSL_CERT_FILE`), PEM.", form="file")
    ] = ""
    cert_file: Annotated[str, Doc("Client certificate chain to show, PEM.", form="file")] = ""
    key_file: Annotated[str, Doc("Its private key, PEM, not encrypted.", form="file")] = ""

    @property
    def given(self) -> bool:
        """Something is set."""
        return bool(self.ca_file or self.cert_file)


@dataclass(frozen=True, slots=True)
class TimeoutSettings:
    """How long an upstream may take."""

    call: Annotated[float, Seconds("Longest a call may take; a client's shorter deadline wins.", low=0.001)] = 60.0
    connect: Annotated[float, Seconds("Longest it may take to open a connection.", low=0.001)] = 1.0


@dataclass(frozen=True, slots=True)
class ToolSettings:
    """Which tools of an upstream may be called, as names or patterns with `*`."""

    allow: Annotated[tuple[str, ...], Doc("Tools that are listed and may be called.")] = ("*",)
    deny: Annotated[tuple[str, ...], Doc("Tools that are hidden and refused, whatever `allow` says.")] = ()
    retry: Annotated[
        tuple[str, ...], Doc("Tools that are safe to run twice and may be sent again after a failure.")
    ] = ()
    trusted: Annotated[
        bool, Doc("Believe the upstream's own annotations about which tools are safe to repeat.", only_default=True)
    ] = False


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """One MCP server."""

    name: Annotated[
        str,
        Doc("`[a-z0-9-]`, at most 63, unique; also the prefix when several are merged.", form="name", required=True),
    ]
    url: Annotated[
        str,
        Doc(
            "Where it is: `http(s)://…`, `sse+http(s)://…` (servers of 2024-11-05), or `grpc(s)://host:port/name`"
            " (upstream `name` of another sidecar).",
            form="url",
        ),
    ] = ""
    protocol: Annotated[
        str,
        Doc(
            "MCP revision to speak; `auto` asks the server, `sse` is the HTTP+SSE of 2024-11-05.",
            choices=("auto", "2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "sse"),
        ),
    ] = "auto"
    auth: UpstreamAuthSettings = UpstreamAuthSettings()
    tls: UpstreamTlsSettings = UpstreamTlsSettings()
    timeout: TimeoutSettings = TimeoutSettings()
    tools: ToolSettings = ToolSettings()
    command: Annotated[
        tuple[str, ...],
        Doc("Program and arguments of a server to start and to speak to over stdio, in the place of `url`."),
    ] = ()
    # Values may be secrets: they stay out of the repr, and so out of logs.
    env: Annotated[
        Mapping[str, str],
        Doc(
            "Environment of `command`. Of the sidecar's own it gets only `PATH`, `HOME`, `USER`, `LANG`, `LC_*`, `TZ`"
            " and `TMPDIR`."
        ),
    ] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    cwd: Annotated[str, Doc("Directory to start `command` in; empty is the sidecar's own.", form="folder")] = ""

    @property
    def secured(self) -> bool:
        """There are files with what proves the sidecar to it, or it to the sidecar."""
        return bool(self.auth.bearer_file or self.tls.ca_file or self.tls.cert_file)


@dataclass(frozen=True, slots=True)
class MergeSettings:
    """How the names of several upstreams are kept apart on `/mcp`."""

    prefix: Annotated[
        str,
        Doc(
            "When a tool's name gets its upstream's in front.",
            choices=("always", "on-conflict", "never"),
        ),
    ] = "on-conflict"
    separator: Annotated[str, Doc("What stands between the two names.", form="separator")] = "__"


@dataclass(frozen=True, slots=True)
class DiscoverySettings:
    """How upstreams are found in a cluster."""

    mode: Annotated[
        str,
        Doc(
            "Where to look: `dns` takes every address of the names in `upstreams`, as those of headless Services;"
            " `namespace` asks the API server.",
            choices=("off", "dns", "namespace", "hub"),
            later=("hub",),
        ),
    ] = "off"
    namespace: Annotated[
        str, Doc("Namespace to look in, in mode namespace; empty is the pod's own.", form="namespace")
    ] = ""
    selectors: Annotated[
        tuple[str, ...],
        Doc(
            "Label selectors of the Services to take, in mode namespace; a Service that fits one of them is taken for"
            " an MCP server. `*` looks at every Service and takes those that carry a marker of an MCP server.",
            form="selector",
        ),
    ] = ("mcp-sidecar.dev/server=true",)
    annotations: Annotated[
        bool,
        Doc("Read the annotations of the Services too (path, transport, name); needs `list` and `watch` on services."),
    ] = False
    resources: Annotated[
        bool,
        Doc("Take MCPServer objects of mcp.x-k8s.io too; needs `list` and `watch` on mcpservers.mcp.x-k8s.io."),
    ] = False
    zone: Annotated[
        str, Doc("The pod's zone, for the topology hints of Services; the variable `MCP_SIDECAR_ZONE` says it too.")
    ] = ""
    kubeconfig: Annotated[
        str,
        Doc(
            "Reach the API server as this file says, not as pods do; outside clusters `KUBECONFIG` names it.",
            form="file",
        ),
    ] = ""
    interval: Annotated[float, Seconds("Time between two lookups of a name, in mode `dns`.", low=0.01)] = 5.0
    auth: UpstreamAuthSettings = UpstreamAuthSettings()

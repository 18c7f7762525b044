"""Where callers come in, and who may: the sections `listen`, `grpc`, `http` and `auth`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from mcp_sidecar.documented import MIB, Bytes, Doc, Seconds


@dataclass(frozen=True, slots=True)
class ListenTlsSettings:
    """TLS for calls that come over the network; loopback, unix sockets, health and metrics always stay plaintext."""

    cert_file: Annotated[
        str,
        Doc(
            "Certificate chain to show, PEM; switches TLS on. Like the others, read again when it changes.", form="file"
        ),
    ] = ""
    key_file: Annotated[str, Doc("Its private key, PEM, not encrypted.", form="file")] = ""
    client_ca_file: Annotated[
        str, Doc("Authorities, PEM; a client must then show a certificate that one of them signed.", form="file")
    ] = ""


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """Where to listen: `host:port`, `[v6]:port`, `off`, or `unix:///path` (gRPC and HTTP). Port 0 picks a free one."""

    grpc: Annotated[
        tuple[str, ...], Doc("The gRPC API; one address or a list, `off` is the empty list.", form="listen")
    ] = ("127.0.0.1:15051",)
    http: Annotated[str, Doc("MCP Streamable HTTP and the admin page.", form="listen")] = "127.0.0.1:15080"
    health: Annotated[str, Doc("Plaintext gRPC health service for the kubelet.", form="tcp")] = "0.0.0.0:15081"
    metrics: Annotated[str, Doc("`/metrics` and the HTTP probes.", form="tcp")] = "0.0.0.0:15090"
    tls: ListenTlsSettings = ListenTlsSettings()


@dataclass(frozen=True, slots=True)
class KeepaliveSettings:
    """When gRPC connections are pinged and retired. Idle and age limits never apply to loopback and unix sockets."""

    max_connection_idle: Annotated[
        float, Seconds("A connection without calls is closed after this long.", low=0.001)
    ] = 900.0
    max_connection_age: Annotated[
        float, Seconds("A connection this old is asked to go, so that clients spread over new replicas.", low=0.001)
    ] = 1800.0
    max_connection_age_grace: Annotated[
        float, Seconds("How long the calls of a connection that was asked to go may still take.", low=0.001)
    ] = 300.0
    time: Annotated[float, Seconds("A connection that was silent for this long is pinged.", low=0.001)] = 300.0
    timeout: Annotated[float, Seconds("A ping unanswered for this long ends the connection.", low=0.001)] = 60.0
    min_time: Annotated[float, Seconds("Clients that ping more often than this are sent away.")] = 300.0
    permit_without_stream: Annotated[bool, Doc("Pings are sent and accepted while no call is open.")] = True


@dataclass(frozen=True, slots=True)
class GrpcSettings:
    """The gRPC API."""

    reflection: Annotated[bool, Doc("Answer server reflection (grpcurl without proto files).")] = False
    keepalive: KeepaliveSettings = KeepaliveSettings()
    send_queue: Annotated[
        int, Doc("Frames a stream holds for a client that reads slowly, before it is ended.", low=1)
    ] = 100
    send_queue_bytes: Annotated[int, Bytes("Bytes a stream holds for a client that reads slowly.")] = 8 * MIB
    max_concurrent_streams: Annotated[int, Doc("Calls open at once on one connection.", low=1)] = 256
    max_message: Annotated[int, Bytes("Largest message taken from a client.")] = 4 * MIB


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The HTTP listener."""

    max_body: Annotated[int, Bytes("Largest request body.")] = 4 * MIB
    header_timeout: Annotated[float, Seconds("A request's head must be complete after this long.", low=0.001)] = 10.0
    idle_timeout: Annotated[
        float, Seconds("A connection between two requests is closed after this long.", low=0.001)
    ] = 75.0
    max_sessions: Annotated[int, Doc("Sessions of 2025-era clients at once.", low=1)] = 10_000
    session_idle: Annotated[
        float, Seconds("A session of a 2025-era client that is not used for this long is ended.", low=0.001)
    ] = 1800.0
    allowed_hosts: Annotated[
        tuple[str, ...],
        Doc("Values of the `Host` header to accept besides loopback names and the address listened on."),
    ] = ()
    allowed_origins: Annotated[
        tuple[str, ...], Doc("Values of the `Origin` header to accept besides loopback ones.")
    ] = ()


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Who may call."""

    mode: Annotated[
        str,
        Doc(
            "What a client must show: nothing, a token of `token_file`, a signed JWT, or the token of a service account"
            " (checked with the cluster's TokenReview). A listener that is not on loopback wants one of them, client"
            " certificates, or a written `none`.",
            choices=("none", "token", "jwt", "kubernetes"),
        ),
    ] = "none"
    token_file: Annotated[
        str,
        Doc(
            "File with one token a line, for mode `token`: `TOKEN`, or `SUBJECT TOKEN` to tell callers apart. Sessions"
            " and results that are private belong to a subject; tokens without one are all the same caller's.",
            form="file",
        ),
    ] = ""
    jwks_url: Annotated[
        str, Doc("Where the signing keys are, for mode `jwt`: https, or a loopback host.", form="jwks")
    ] = ""
    jwks_file: Annotated[str, Doc("File with the signing keys, for mode `jwt`.", form="file")] = ""
    audience: Annotated[
        str,
        Doc(
            "Audience that a token must be for; needed in mode `jwt`; if empty in mode `kubernetes`, it is"
            " `mcp-sidecar.dev`."
        ),
    ] = ""
    issuer: Annotated[str, Doc("Issuer that a JWT must come from; empty accepts any that the keys verify.")] = ""
    algorithms: Annotated[
        tuple[str, ...],
        # Only asymmetric ones: a shared-secret algorithm would let anybody sign with the public key (RFC 8725 §2.1).
        Doc(
            "Signature algorithms to accept.",
            choices=("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"),
        ),
    ] = ("RS256", "ES256", "EdDSA")


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """The page at `/` of the HTTP listener; never served where others could reach it without authentication."""

    enabled: Annotated[bool, Doc("Serve the page and its API.")] = True
    actions: Annotated[bool, Doc("Let the page call tools and close connections; otherwise it only shows.")] = False
    payloads: Annotated[
        bool,
        Doc("Keep arguments and results of recent calls (4 KiB of each) and show them to whoever may see the page."),
    ] = False

    @property
    def keeps_payloads(self) -> bool:
        """There is a page, and it may show them."""
        return self.enabled and self.payloads

"""What keys demand of each other, and what deserves a warning; judges finished settings and knows no layers."""

from __future__ import annotations

from collections.abc import Container, Iterator
from importlib.util import find_spec
from pathlib import Path

from mcp_sidecar.config import telemetry_rules
from mcp_sidecar.config.forms import is_local_listener
from mcp_sidecar.config.problems import quoted
from mcp_sidecar.protocol.eras import MODERN_VERSIONS
from mcp_sidecar.settings import (
    AuthSettings,
    DiscoverySettings,
    ListenSettings,
    Settings,
    UpstreamSettings,
)

Fault = tuple[str, str]
"""The path of the key to mend and the sentence."""


def faults(settings: Settings, written: Container[str] = ()) -> Iterator[Fault]:
    """Yield what does not go together. `written` has the paths of keys that somebody wrote, and did not leave out."""
    yield from _listen_faults(settings.listen)
    yield from _upstream_faults(settings.upstreams)
    yield from _auth_faults(settings.auth)
    yield from telemetry_rules.faults(settings.telemetry, written)
    yield from _discovery_faults(settings.discovery)
    yield from _start_faults(settings)
    if "auth.mode" not in written:
        yield from _open_door_faults(settings)


def _start_faults(settings: Settings) -> Iterator[Fault]:
    """Only a discovery that finds names may know more than the configuration."""
    names = [upstream.name for upstream in settings.upstreams]
    for name in settings.start.require if settings.discovery.mode in ("off", "dns") else ():
        if name not in names:
            yield "start.require", f"no upstream is called {quoted(name)}; known: {', '.join(names) or 'none'}"


def _listen_faults(listen: ListenSettings) -> Iterator[Fault]:
    tls = listen.tls
    for key, other in (("cert_file", "key_file"), ("key_file", "cert_file"), ("client_ca_file", "cert_file")):
        if getattr(tls, key) and not getattr(tls, other):
            yield f"listen.tls.{other}", f"needed with listen.tls.{key}"
            return
    if tls.cert_file:
        yield from _tls_faults("listen.tls", tls.cert_file, tls.key_file, tls.client_ca_file, server=True)


def _tls_faults(path: str, cert_file: str, key_file: str, ca_file: str, *, server: bool) -> Iterator[Fault]:
    """Yield what keeps files from being used together."""
    # Imported where needed: few configurations have TLS, and `check` shall start fast.
    from mcp_sidecar.wire import tls

    make = tls.server_material if server else tls.client_material
    files = tls.watch(cert_file, key_file, ca_file, make, lambda _: None)
    if files.trouble:
        yield f"{path}.{'cert_file' if cert_file else 'ca_file'}", f"{files.name}: {files.trouble}"


def _open_door_faults(settings: Settings) -> Iterator[Fault]:
    """Yield listeners that would let everybody in though nobody said so (docs/decisions/0021)."""
    if settings.auth.mode == "none" and not settings.listen.tls.client_ca_file:
        for path, address in _network_doors(settings):
            ways = (
                "set auth.mode or listen.tls.client_ca_file, listen on 127.0.0.1, or say auth.mode: none if you mean it"
            )
            yield path, f"anybody who can reach {address} could call every tool; {ways}"


def _upstream_faults(upstreams: tuple[UpstreamSettings, ...]) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for index, upstream in enumerate(upstreams):
        for key, message in _way_faults(upstream):
            yield f"upstreams[{index}].{key}", message
        if upstream.name and first.setdefault(upstream.name, index) != index:
            taken = f"{quoted(upstream.name)} is already the name of upstreams[{first[upstream.name]}]"
            yield f"upstreams[{index}].name", taken


def _way_faults(upstream: UpstreamSettings) -> Iterator[Fault]:
    """Yield what is wrong with how an upstream is to be reached; the paths are its own."""
    if upstream.command:
        yield from _command_faults(upstream)
        return
    if not upstream.url:
        yield "url", "an upstream needs a url or a command"
    for key in ("env", "cwd"):
        if getattr(upstream, key):
            yield key, "only a command has one"
    scheme = upstream.url.partition("://")[0].lower()
    yield from _upstream_tls_faults(upstream, scheme)
    spoken = {"grpc": ("auto", *MODERN_VERSIONS), "sse+http": ("auto", "sse")}.get(scheme.removesuffix("s"))
    if spoken is not None and upstream.protocol not in spoken:
        yield "protocol", f"a {scheme} upstream speaks {' or '.join(spoken[1:])}; leave the key out"


def _upstream_tls_faults(upstream: UpstreamSettings, scheme: str) -> Iterator[Fault]:
    tls = upstream.tls
    given = [key for key in ("ca_file", "cert_file", "key_file") if getattr(tls, key)]
    if given and not scheme.endswith("s"):
        yield f"tls.{given[0]}", f"{scheme}:// is plaintext; use {scheme}s://"
    elif bool(tls.cert_file) != bool(tls.key_file):
        missing, there = ("key_file", "cert_file") if tls.cert_file else ("cert_file", "key_file")
        yield f"tls.{missing}", f"needed with tls.{there}"
    elif given:
        yield from _tls_faults("tls", tls.cert_file, tls.key_file, tls.ca_file, server=False)


def _command_faults(upstream: UpstreamSettings) -> Iterator[Fault]:
    if upstream.url:
        yield "url", "an upstream has a url or a command, not both"
    if len(upstream.command) == 1 and " " in upstream.command[0] and not Path(upstream.command[0]).exists():
        yield "command", "write one word an item, as in [python, -m, my_server]"
    if upstream.auth.bearer_file:
        yield "auth.bearer_file", "a command takes its credentials from env"
    for key in ("ca_file", "cert_file", "key_file"):
        if getattr(upstream.tls, key):
            yield f"tls.{key}", "a command is not reached over TLS"
    if upstream.protocol == "sse":
        yield "protocol", "sse is spoken over http, not with a command"


def _auth_faults(auth: AuthSettings) -> Iterator[Fault]:
    if auth.mode == "token" and not auth.token_file:
        yield "auth.token_file", "needed in mode token"
    if auth.mode == "jwt":
        if bool(auth.jwks_url) == bool(auth.jwks_file):
            yield "auth.jwks_url", "mode jwt needs exactly one of jwks_url and jwks_file"
        if not auth.audience:
            # Without one, a token that the same issuer made for any other service would open this door.
            yield "auth.audience", "needed in mode jwt"
        if not auth.algorithms:
            yield "auth.algorithms", "needs at least one algorithm"
    if auth.mode == "kubernetes" and find_spec("kubernetes") is None:
        yield "auth.mode", "mode kubernetes needs a package: pip install 'mcp-sidecar[kubernetes]'"


def _discovery_faults(discovery: DiscoverySettings) -> Iterator[Fault]:
    if discovery.mode != "namespace":
        return
    if find_spec("kubernetes") is None:  # looks for it without importing it
        yield "discovery.mode", "namespace needs the Kubernetes client: pip install 'mcp-sidecar[kubernetes]'"
    if not discovery.selectors and not discovery.resources:
        yield "discovery.selectors", "mode namespace needs at least one, or resources: true"


def warnings(settings: Settings) -> Iterator[str]:
    """Yield what works but is probably not meant."""
    if settings.auth.mode == "none" and not settings.listen.tls.client_ca_file:
        yield from _open_doors(settings)
    if settings.listen.tls.cert_file and not any(_network_doors(settings)):
        yield "listen.tls has no effect: every listener for calls is on loopback or a unix socket"
    yield from _idle_auth_keys(settings.auth)
    yield from telemetry_rules.warnings(settings.telemetry)
    if settings.discovery.auth.bearer_file and settings.discovery.mode in ("off", "dns"):
        yield f"discovery.auth.bearer_file has no effect in mode {settings.discovery.mode}: no other servers are found"
    if not settings.upstreams and settings.discovery.mode == "off":
        yield "no upstreams are configured, so there is nothing to call; add one with --upstream NAME=URL"


def _open_doors(settings: Settings) -> Iterator[str]:
    for path, address in _network_doors(settings):
        yield f"{path}: anybody who can reach {address} may call every tool; set auth.mode or listen on 127.0.0.1"


def _network_doors(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield path and address of the listeners for calls that others than this machine can reach."""
    doors = [("listen.grpc", address) for address in settings.listen.grpc] + [("listen.http", settings.listen.http)]
    yield from ((path, address) for path, address in doors if not is_local_listener(address))


def _idle_auth_keys(auth: AuthSettings) -> Iterator[str]:
    used = {
        "token": {"token_file"},
        "jwt": {"jwks_url", "jwks_file", "audience", "issuer"},
        "kubernetes": {"audience"},
    }.get(auth.mode, set())
    for name in ("token_file", "jwks_url", "jwks_file", "audience", "issuer"):
        if getattr(auth, name) and name not in used:
            yield f"auth.{name} has no effect in mode {auth.mode}"

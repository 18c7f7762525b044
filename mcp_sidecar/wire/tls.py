"""TLS from certificates, keys and authorities in PEM: contexts for handshakes, and whom a certificate names.

Knows neither listeners nor upstreams. The files may change at any time: a context is for the handshakes that begin
while it is the newest one, and connections outlive it.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from mcp_sidecar.watched import Report, WatchedFiles

_HTTP = "http/1.1"


@dataclass(frozen=True, slots=True)
class Material:
    """What one side of a handshake has: its own certificate and key, and whom it trusts; empty where it has none."""

    certificate: bytes
    key: bytes = field(repr=False)
    authorities: bytes
    context: ssl.SSLContext


Make = Callable[[bytes, bytes, bytes], Material]
"""Makes material of a certificate, a key and authorities. Raises `ValueError` with what is wrong."""


def server_material(certificate: bytes, key: bytes, authorities: bytes = b"") -> Material:
    """For listeners. With `authorities` a client has to show a certificate of theirs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    # Resumption would let a client in on a certificate that was checked against authorities that are gone since.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    _show(context, certificate, key)
    if authorities:
        _trust(context, authorities)
        context.verify_mode = ssl.CERT_REQUIRED
    return Material(certificate, key, authorities, context)


def client_material(certificate: bytes = b"", key: bytes = b"", authorities: bytes = b"") -> Material:
    """For upstreams: trusted are `authorities`, or those of the system. Names are verified always."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    if authorities:
        _trust(context, authorities)
    else:
        context.load_default_certs()
    if certificate:
        _show(context, certificate, key)
    return Material(certificate, key, authorities, context)


def watch(
    cert_file: str, key_file: str, ca_file: str, make: Make, report: Report, *, otherwise: str = ""
) -> WatchedFiles[Material]:
    """What `make` makes of the newest files that fit together; an empty path is a file that there is not."""
    paths = (cert_file, key_file, ca_file)

    def parse(contents: tuple[bytes, ...]) -> Material:
        found = iter(contents)
        return make(*(next(found) if path else b"" for path in paths))

    return WatchedFiles(tuple(path for path in paths if path), parse, report, otherwise=otherwise)


def subject_of(certificate: Mapping[str, Any] | None) -> str:
    """Whom a client's certificate (as `getpeercert` has it) names: URI (SPIFFE has one), else DNS name, else CN."""
    if not certificate:
        return ""
    names = certificate.get("subjectAltName", ())
    for kind in ("URI", "DNS"):
        for name, value in names:
            if name == kind:
                return str(value)
    return next(
        (str(value) for part in certificate.get("subject", ()) for key, value in part if key == "commonName"), ""
    )


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols([_HTTP])


def _show(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """`ssl` reads certificates from files only: these are in memory and have no name, so that no swap comes between."""
    with ExitStack() as files:
        cert_file, key_file = (_nameless(files, pem) for pem in (certificate, key))
        try:
            context.load_cert_chain(cert_file, key_file, password=_no_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise ValueError("the key does not belong to the certificate") from None
            raise ValueError("they are not a certificate and its unencrypted key in PEM") from None


def _nameless(files: ExitStack, contents: bytes) -> str:
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    files.callback(os.close, descriptor)
    os.write(descriptor, contents)
    return f"/proc/self/fd/{descriptor}"


def _no_password() -> str:
    return ""  # without this OpenSSL would ask the terminal


def _trust(context: ssl.SSLContext, authorities: bytes) -> None:
    try:
        context.load_verify_locations(cadata=authorities.decode("ascii"))
    except (ssl.SSLError, UnicodeDecodeError):
        raise ValueError("the authorities are no certificates in PEM") from None

"""TLS towards upstreams: whom the sidecar trusts and which certificate it shows, newest first; knows no upstream."""

from __future__ import annotations

import ssl
from functools import cache
from typing import NamedTuple

from mcp_sidecar.settings import UpstreamTlsSettings
from mcp_sidecar.watched import Report
from mcp_sidecar.wire.tls import Material, client_material, watch


class Pem(NamedTuple):
    """Authorities, key and certificate; None where there are none."""

    authorities: bytes | None
    key: bytes | None = None
    certificate: bytes | None = None


class Trust:
    """The files of one upstream's `tls`, looked at again on use. `generation` changes whenever they do."""

    def __init__(self, settings: UpstreamTlsSettings, report: Report) -> None:
        self._files = watch(
            settings.cert_file,
            settings.key_file,
            settings.ca_file,
            client_material,
            report,
            otherwise="nothing behind TLS can be reached",
        )

    @property
    def generation(self) -> int:
        self._files.current()
        return self._files.generation

    def context(self) -> ssl.SSLContext:
        """For the next handshake. Raises `OSError` while there were never files that fit."""
        return self._material().context

    def pem(self) -> Pem:
        """For those who make no use of contexts. Raises `OSError`, as `context`."""
        material = self._material()
        authorities = material.authorities or system_authorities()
        return Pem(authorities, material.key or None, material.certificate or None)

    def _material(self) -> Material:
        material = self._files.current()
        if material is None:
            raise OSError("the files for TLS cannot be used")
        return material


class SystemTrust:
    """The authorities of the system (or SSL_CERT_FILE), and no certificate of our own; stands in for a `Trust`."""

    generation = 0

    def context(self) -> ssl.SSLContext:
        return system_context()

    def pem(self) -> Pem:
        return Pem(system_authorities())


AnyTrust = Trust | SystemTrust


@cache
def system_context() -> ssl.SSLContext:
    """One for all, made on demand: it loads every authority of the system, which upstreams in the same pod need not."""
    return ssl.create_default_context()


@cache
def system_authorities() -> bytes | None:
    """As PEM; None where there are none."""
    found = system_context().get_ca_certs(binary_form=True)
    return "".join(ssl.DER_cert_to_PEM_cert(one) for one in found).encode() or None

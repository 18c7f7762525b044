"""Certificates, keys and authorities in PEM, and whom a certificate names."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from mcp_sidecar.wire.tls import client_material, server_material, subject_of
from tests.support.certificates import Authority


def test_the_key_stays_out_of_the_repr():
    issued = Authority().issue("localhost")
    assert "PRIVATE" not in repr(server_material(issued.certificate, issued.key))


@pytest.mark.covers("B-291")
def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password():
    issued = Authority().issue("localhost")
    key = load_pem_private_key(issued.key, None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"s3cret"))
    with pytest.raises(ValueError, match="unencrypted"):
        server_material(issued.certificate, locked)


@pytest.mark.parametrize("authorities", [b"nothing", b"\xff", Authority().issue("x").key])
def test_authorities_have_to_be_certificates(authorities: bytes):
    with pytest.raises(ValueError, match="no certificates"):
        client_material(b"", b"", authorities)


@pytest.mark.covers("B-287")
@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        (None, ""),
        ({}, ""),
        ({"subjectAltName": (("DNS", "a.b"), ("URI", "spiffe://td/x"), ("URI", "spiffe://td/y"))}, "spiffe://td/x"),
        ({"subjectAltName": (("IP Address", "1.2.3.4"), ("DNS", "a.b")), "subject": ((("commonName", "c"),),)}, "a.b"),
        ({"subject": ((("organizationName", "o"),), (("commonName", "c"),))}, "c"),
    ],
)
def test_a_certificate_names_a_uri_before_a_dns_name_before_a_common_name(certificate, name: str):
    assert subject_of(certificate) == name

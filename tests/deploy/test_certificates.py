"""The certificate that Helm makes for the webhook: whose it is, and when another one is made."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from tests.support import helm
from tests.support.helm import Object, named, render, render_on
from tests.support.stub_api import api_server

SECRET = "/api/v1/namespaces/mcp/secrets/mcp-sidecar-webhook-tls"
UNTIL = "mcp-sidecar.dev/valid-until"


def _secret(things: list[Object]) -> Object:
    (secret,) = named(things, "Secret")
    return secret


def _installed() -> Object:
    """The Secret as the cluster has it after `helm install`."""
    secret = _secret(render("webhook"))
    secret["metadata"]["annotations"] |= {
        "meta.helm.sh/release-name": "mcp-sidecar",
        "meta.helm.sh/release-namespace": "mcp",
    }
    return secret


def _certificate(secret: Object, key: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(secret["data"][key]))


def test_the_certificate_is_for_the_service_and_signed_by_the_authority_beside_it() -> None:
    secret = _secret(render("webhook"))
    certificate, authority = _certificate(secret, "tls.crt"), _certificate(secret, "ca.crt")
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mcp-sidecar-webhook.mcp.svc"]


def test_a_strict_client_shakes_hands_with_it(tmp_path: Path) -> None:
    secret = _secret(render("webhook"))
    for name, content in secret["data"].items():
        (tmp_path / name).write_bytes(base64.b64decode(content))
    client, server = (
        ssl.create_default_context(cafile=str(tmp_path / "ca.crt")),
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
    )
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    server.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asks = client.wrap_bio(back, there, server_hostname="mcp-sidecar-webhook.mcp.svc")
    answers = server.wrap_bio(there, back, server_side=True)
    for side in (asks, answers, asks):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    assert asks.version() == "TLSv1.3"


def test_the_secret_says_until_when_the_certificate_is_valid() -> None:
    secret = _secret(render("webhook", "webhook.certificates.days=400"))
    said = dt.datetime.fromtimestamp(int(secret["metadata"]["annotations"][UNTIL]), dt.UTC)
    assert abs(_certificate(secret, "tls.crt").not_valid_after_utc - said) < dt.timedelta(minutes=5)


@pytest.mark.covers("B-269")
def test_an_upgrade_keeps_the_certificate(tmp_path: Path) -> None:
    installed = _installed()
    with api_server(tmp_path, "1.33.0", {SECRET: installed}) as kubeconfig:
        upgraded = render_on(kubeconfig, "webhook")
    assert _secret(upgraded)["data"] == installed["data"]
    assert _secret(upgraded)["metadata"]["annotations"][UNTIL] == installed["metadata"]["annotations"][UNTIL]
    (configuration,) = named(upgraded, "MutatingWebhookConfiguration")
    assert {hook["clientConfig"]["caBundle"] for hook in configuration["webhooks"]} == {installed["data"]["ca.crt"]}


@pytest.mark.covers("B-269")
def test_an_upgrade_renews_a_certificate_in_its_last_year(tmp_path: Path) -> None:
    installed = _installed()
    # In January 2027; the calendar only makes the certificate older.
    installed["metadata"]["annotations"][UNTIL] = "1800000000"
    with api_server(tmp_path, "1.33.0", {SECRET: installed}) as kubeconfig:
        upgraded = render_on(kubeconfig, "webhook")
    renewed = _certificate(_secret(upgraded), "tls.crt")
    assert renewed != _certificate(installed, "tls.crt")
    assert renewed.not_valid_after_utc.year > 2030
    # Pods show the old certificate until the kubelet has brought them the new one.
    (configuration,) = named(upgraded, "MutatingWebhookConfiguration")
    trusted = x509.load_pem_x509_certificates(
        base64.b64decode(configuration["webhooks"][0]["clientConfig"]["caBundle"])
    )
    assert trusted == [_certificate(_secret(upgraded), "ca.crt"), _certificate(installed, "ca.crt")]


@pytest.mark.covers("B-261")
def test_what_the_cluster_serves_counts(tmp_path: Path) -> None:
    with api_server(tmp_path, "1.35.0", {}) as kubeconfig:
        with pytest.raises(helm.Refused, match=r"since 1\.36; this is v1\.35\.0"):
            render_on(kubeconfig, "policy")

"""An authority that issues certificates on the spot, and a folder that changes them as a kubelet does. Knows no TLS."""

from __future__ import annotations

import datetime as dt
import ipaddress
import itertools
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_HOUR = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """A certificate authority of its own."""

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        now = dt.datetime.now(dt.UTC)
        built = (
            x509.CertificateBuilder(self._name, self._name, self._key.public_key(), x509.random_serial_number())
            .not_valid_before(now - _HOUR)
            .not_valid_after(now + _HOUR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_signs_certificates(), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = built.public_bytes(serialization.Encoding.PEM)

    def issue(self, *names: str, common_name: str = "leaf", expired: bool = False) -> Issued:
        """A certificate for DNS names, IP addresses and URIs, good for servers and clients."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        end = now - dt.timedelta(minutes=1) if expired else now + _HOUR
        builder = (
            x509.CertificateBuilder(self._name, _named(common_name), key.public_key(), x509.random_serial_number())
            .not_valid_before(now - _HOUR)
            .not_valid_after(end)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_alternative, names))), critical=False)
        return Issued(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), _pem(key))


class Mounted:
    """A folder of files that are all replaced at one moment, by way of a symbolic link, as kubelets do it."""

    def __init__(self, folder: Path, **files: bytes) -> None:
        self._folder = folder
        self._versions = itertools.count(1)
        folder.mkdir(parents=True, exist_ok=True)
        self.replace(**files)
        for name in files:
            (folder / name).symlink_to(Path("..data") / name)

    def replace(self, **files: bytes) -> None:
        """Swap every file at once."""
        version = self._folder / f"..v{next(self._versions)}"
        version.mkdir()
        for name, contents in files.items():
            (version / name).write_bytes(contents)
        (fresh := self._folder / "..data_tmp").symlink_to(version.name)
        fresh.rename(self._folder / "..data")

    def path(self, name: str) -> str:
        return str(self._folder / name)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )

"""Keys, certificates and kubeconfigs of one cluster, by openssl; knows who talks to whom, not what they say."""

from __future__ import annotations

import concurrent.futures
import json
import secrets
import subprocess
from pathlib import Path

from hack.kube.layout import NODE, Layout

_DAYS = "2"
_NAMES_OF_THE_API = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")


def write(layout: Layout) -> None:
    """Everything below `layout.pki`, and a kubeconfig for each who needs one."""
    layout.pki.mkdir(mode=0o700)
    _authority(layout.pki)
    _key(layout.pki, "sa")
    with concurrent.futures.ThreadPoolExecutor(4) as workers:
        list(workers.map(lambda wanted: _certificate(layout.pki, *wanted), _certificates(layout)))
    _kubeconfig(layout, "admin", layout.kubeconfig)
    for name in ("manager", "scheduler", "proxy", "dns", "kubelet"):
        _kubeconfig(layout, name, layout.run / f"{name}.kubeconfig")


def _certificates(layout: Layout) -> list[tuple[str, str, str]]:
    """File, subject and alternative names. Groups and users are those that RBAC knows by itself."""
    addresses = [f"IP:{address}" for address in (layout.node_address, layout.api_service, "127.0.0.1")]
    api = ",".join([*addresses, *(f"DNS:{name}" for name in _NAMES_OF_THE_API)])
    return [
        ("apiserver", "/CN=kube-apiserver", api),
        ("apiserver-kubelet", "/O=system:masters/CN=apiserver-kubelet", ""),
        ("admin", "/O=system:masters/CN=admin", ""),
        ("manager", "/CN=system:kube-controller-manager", ""),
        ("scheduler", "/CN=system:kube-scheduler", ""),
        ("proxy", "/CN=system:kube-proxy", ""),
        ("dns", "/O=system:masters/CN=coredns", ""),
        ("kubelet", f"/O=system:nodes/CN=system:node:{NODE}", f"IP:{layout.node_address},DNS:{NODE}"),
    ]


def _authority(folder: Path) -> None:
    _key(folder, "ca")
    usage = "keyUsage=critical,keyCertSign,digitalSignature"
    command = ["req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=ca", "-days", _DAYS, "-out", "ca.crt"]
    _openssl(folder, *command, "-addext", usage)


def _key(folder: Path, name: str) -> None:
    # The API server refuses service account keys in the newer form (PKCS#8) that `genpkey` writes.
    _openssl(folder, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")


def _certificate(folder: Path, name: str, subject: str, names: str) -> None:
    _key(folder, name)
    extensions = "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth,serverAuth\n"
    (folder / f"{name}.ext").write_text(extensions + (f"subjectAltName={names}\n" if names else ""))
    _openssl(folder, "req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr")
    signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-days", _DAYS, "-set_serial", str(secrets.randbits(63))]
    _openssl(folder, "x509", "-req", "-in", f"{name}.csr", *signed, "-extfile", f"{name}.ext", "-out", f"{name}.crt")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def _kubeconfig(layout: Layout, name: str, path: Path) -> None:
    user = {"client-certificate": str(layout.pki / f"{name}.crt"), "client-key": str(layout.pki / f"{name}.key")}
    cluster = {"server": layout.api, "certificate-authority": str(layout.pki / "ca.crt")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": cluster}],
        "users": [{"name": "here", "user": user}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "here"}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))

"""Real keys, tokens and a key server on loopback for the tests of authentication; knows nothing of the sidecar."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

AUDIENCE = "mcp-sidecar"
ISSUER = "https://issuer.test"

_ALGORITHMS: dict[str, type[Any]] = {
    "RS256": jwt.algorithms.RSAAlgorithm,
    "PS256": jwt.algorithms.RSAAlgorithm,
    "ES256": jwt.algorithms.ECAlgorithm,
    "ES384": jwt.algorithms.ECAlgorithm,
    "EdDSA": jwt.algorithms.OKPAlgorithm,
}


class Signer:
    """One key pair: signs tokens, shows its public half as a JWK."""

    def __init__(self, kid: str, algorithm: str = "ES256") -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.private = _private_key(kid, algorithm)

    def jwk(self, **more: object) -> dict[str, object]:
        row = json.loads(_ALGORITHMS[self.algorithm].to_jwk(self.private.public_key()))
        return {**row, "kid": self.kid, "use": "sig", **more}

    def private_jwk(self) -> dict[str, object]:
        return {**json.loads(_ALGORITHMS[self.algorithm].to_jwk(self.private)), "kid": self.kid, "key_ops": ["verify"]}

    def pem(self) -> bytes:
        pem: bytes = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    def token(self, headers: dict[str, Any] | None = None, **claims: object) -> str:
        """A token that holds, but for what `claims` changes; a claim of None is left out."""
        headers = {"kid": self.kid, **(headers or {})}
        headers = {name: value for name, value in headers.items() if value is not None}
        # Not `jwt.encode`: it refuses claims of the wrong type, which others may sign.
        return jwt.PyJWS().encode(json.dumps(full_claims(**claims)).encode(), self.private, self.algorithm, headers)


def full_claims(**claims: object) -> dict[str, object]:
    now = int(time.time())
    full = {"sub": "alice", "aud": AUDIENCE, "iss": ISSUER, "iat": now, "exp": now + 600, **claims}
    return {name: value for name, value in full.items() if value is not None}


@functools.cache
def _private_key(kid: str, algorithm: str) -> Any:
    """A key pair for each name; cached, since RSA takes a tenth of a second."""
    match algorithm:
        case "RS256" | "PS256":
            return rsa.generate_private_key(65537, 2048)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ES384":
            return ec.generate_private_key(ec.SECP384R1())
        case _:
            return ed25519.Ed25519PrivateKey.generate()


def key_set(*signers: Signer) -> bytes:
    return json.dumps({"keys": [signer.jwk() for signer in signers]}).encode()


def forged(header: dict[str, object], claims: dict[str, object], signature: bytes = b"") -> str:
    """A token with any header and signature, as no library would make it."""
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


class KeyServer:
    """What the server answers with, and how often it was asked; both may be touched while it runs."""

    def __init__(self, body: bytes) -> None:
        self.status = 200
        self.body = body
        self.headers: dict[str, str] = {}
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()
        self.url = ""


@contextmanager
def key_server(body: bytes) -> Iterator[KeyServer]:
    """A real HTTP server on loopback; clearing `gate` makes it keep its callers waiting."""
    state = KeyServer(body)

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked += 1
            state.gate.wait(5)
            self.send_response(state.status)
            for name, value in {"content-length": str(len(state.body)), **state.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(state.body)
            except OSError:
                pass  # the caller had read enough

        def log_message(self, *_: object) -> None:
            """Nothing: the output belongs to the tests."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_port}/keys.json"
        try:
            yield state
        finally:
            state.gate.set()
            server.shutdown()
            thread.join(5)

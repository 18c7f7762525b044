"""Reads a JSON Web Key Set (RFC 7517) into keys that can check signatures; knows not where it came from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# An EC algorithm is bound to its curve (RFC 7518 §3.4), an RSA key serves any of its family.
_BY_TYPE: Mapping[tuple[object, object], tuple[str, ...]] = {
    ("RSA", None): _RSA,
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}
# Asymmetric only: with a shared-secret algorithm anybody could sign with the public key (RFC 8725 §2.1).
ASYMMETRIC = frozenset(name for names in _BY_TYPE.values() for name in names)

_NAMES = ("kty", "crv", "kid", "alg")
_PUBLIC_FIELDS = ("kty", "crv", "x", "y", "n", "e")
_MAX_KEYS = 100
_MIN_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class Key:
    """A public key and the algorithms it may be used with."""

    kid: str | None
    algorithms: tuple[str, ...]
    public: PublicKey = field(repr=False)


def parse_keys(contents: bytes) -> tuple[Key, ...]:
    """The keys of a JWK set that can check signatures; others are passed over, as RFC 7517 §5 asks.

    Raises `ValueError` when there is none.
    """
    try:
        document = json.loads(contents)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    rows = document.get("keys") if isinstance(document, dict) else None
    keys = tuple(key for key in map(_key, rows[:_MAX_KEYS]) if key is not None) if isinstance(rows, list) else ()
    if not keys:
        raise ValueError("it holds no public key that can check signatures")
    return keys


def find_key(keys: tuple[Key, ...], kid: str | None, algorithm: str) -> Key | None:
    """The key named `kid` that fits `algorithm`; a token that names none is served where only one key fits."""
    fitting = [key for key in keys if algorithm in key.algorithms]
    if kid is None:
        return fitting[0] if len(fitting) == 1 else None
    return next((key for key in fitting if key.kid == kid), None)


def _key(row: object) -> Key | None:
    if not isinstance(row, dict) or row.get("use", "sig") != "sig" or not _may_verify(row.get("key_ops")):
        return None
    kty, crv, kid, alg = (value if isinstance(value := row.get(name), str) else None for name in _NAMES)
    names = _BY_TYPE.get((kty, None if kty == "RSA" else crv), ())
    algorithms = tuple(name for name in names if "alg" not in row or alg == name)
    public = _public_key(row, algorithms[0]) if algorithms else None
    return None if public is None else Key(kid, algorithms, public)


def _may_verify(key_ops: object) -> bool:
    return key_ops is None or (isinstance(key_ops, list) and "verify" in key_ops)


def _public_key(row: Mapping[str, object], algorithm: str) -> PublicKey | None:
    """The public half of a JWK: a private one in the set, published by accident, must not be held as such."""
    fields = {name: row[name] for name in _PUBLIC_FIELDS if name in row}
    try:
        public = jwt.PyJWK(fields, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(public, RSAPublicKey) and public.key_size < _MIN_RSA_BITS:
        return None
    return public if isinstance(public, PublicKey) else None

"""What the sidecar hands to clients and must get back unchanged, sealed with a key of this process. Knows no wire."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets

_PREFIX = "mcs1."
_MAC_BYTES = 16
_NONCE_BYTES = 16


class Seal:
    """Makes tokens that name something and are good for one subject only. Nothing in them is secret."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def make(self, subject: bytes) -> str:
        """A token nobody can guess, printable ASCII."""
        return self._text(secrets.token_bytes(_NONCE_BYTES), subject)

    def holds(self, token: str, subject: bytes) -> bool:
        """The token was made here, for this subject, and is as it was."""
        try:
            raw = base64.b64decode(token.removeprefix(_PREFIX), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return False
        # Compared as text: base64 leaves bits of the last character unused, so several texts decode to the same bytes.
        made = self._text(raw[:_NONCE_BYTES], subject)
        return hmac.compare_digest(token.encode(), made.encode())

    def _text(self, nonce: bytes, subject: bytes) -> str:
        return _PREFIX + base64.urlsafe_b64encode(nonce + self._mac(nonce, subject)).decode()

    def _mac(self, nonce: bytes, subject: bytes) -> bytes:
        return hmac.digest(self._key, nonce + subject, hashlib.sha256)[:_MAC_BYTES]


def looks_sealed(token: str | None) -> bool:
    """The token came from a sidecar, if not from this one."""
    return token is not None and token.startswith(_PREFIX)

"""Finds out who calls from the `authorization` value of a request; knows no wire and grants no rights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mcp_sidecar.call import Principal
from mcp_sidecar.settings import AuthSettings


class Authenticator(Protocol):
    """One way to tell who calls. `generation` grows with each change of the keys or tokens it goes by."""

    @property
    def generation(self) -> int: ...

    async def authenticate(self, authorization: str | None) -> Principal:
        """Who sent this `authorization` header or metadata value (None: there was none).

        Raises `Unauthenticated` when it does not hold, `Unavailable` when that cannot be told at the moment. The
        message of either says what to do and holds no part of the value.
        """
        ...


Reviewed = Callable[[str], Authenticator]
"""Makes the authenticator of mode `kubernetes` for an audience: the app knows the way to the API server."""


def authenticator(
    settings: AuthSettings, report: Callable[[str], None], reviewed: Reviewed | None = None
) -> Authenticator | None:
    """The authenticator for `settings.mode`; None for `none`, which lets everybody in.

    `report` takes a line for the log when keys or tokens cannot be read; `reviewed` is what mode `kubernetes` needs.
    Raises `ValueError` for a mode that does not exist.
    """
    # Imported where needed: PyJWT and cryptography cost 5 MB and 40 ms that a sidecar on loopback need not pay.
    match settings.mode:
        case "none":
            return None
        case "token":
            from mcp_sidecar.inbound.auth.static_tokens import StaticTokens

            return StaticTokens(settings.token_file, report)
        case "jwt":
            from mcp_sidecar.inbound.auth.key_sources import key_source
            from mcp_sidecar.inbound.auth.web_tokens import WebTokens

            return WebTokens(settings, key_source(settings, report))
        case "kubernetes" if reviewed is not None:
            return reviewed(settings.audience)
        case mode:
            raise ValueError(f"auth.mode {mode!r} does not exist; choose none, token, jwt or kubernetes")

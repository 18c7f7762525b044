"""Tests of `mcp_sidecar.inbound.auth`: the choice of a mode, the header, and that no token shows anywhere."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.errors import Unauthenticated
from mcp_sidecar.inbound.auth import Authenticator, authenticator
from mcp_sidecar.inbound.auth.bearer import bearer_token
from mcp_sidecar.settings import AuthSettings
from tests.inbound.signing import AUDIENCE, ISSUER, Signer, forged, full_claims, key_set

CANARY = "c4n4ry0therwiseSecret"


def _ignore(_: str) -> None:
    """A report nobody reads."""


def _chosen(settings: AuthSettings, report: Callable[[str], None] = _ignore) -> Authenticator:
    found = authenticator(settings, report)
    assert found is not None
    return found


def test_mode_none_asks_nobody():
    assert authenticator(AuthSettings(), _ignore) is None


def test_a_mode_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(ValueError, match="none, token, jwt or kubernetes"):
        authenticator(AuthSettings(mode="magic"), _ignore)


async def test_mode_token_reads_the_file(tmp_path):
    (tmp_path / "tokens").write_text("ci s3cret\n")
    tokens = _chosen(AuthSettings(mode="token", token_file=str(tmp_path / "tokens")))
    assert (await tokens.authenticate("Bearer s3cret")).subject == "ci"


async def test_mode_jwt_checks_signatures(tmp_path):
    signer = Signer("one")
    (tmp_path / "keys").write_bytes(key_set(signer))
    settings = AuthSettings(mode="jwt", jwks_file=str(tmp_path / "keys"), audience=AUDIENCE, issuer=ISSUER)
    assert (await _chosen(settings).authenticate(f"Bearer {signer.token()}")).subject == "alice"


@pytest.mark.parametrize("mode", ["none", "token"])
def test_pyjwt_is_not_imported_without_need(mode, tmp_path):
    code = (
        "import sys; from mcp_sidecar.settings import AuthSettings; from mcp_sidecar.inbound.auth import authenticator;"
        f"authenticator(AuthSettings(mode={mode!r}, token_file='none'), print);"
        "sys.exit(any(name in sys.modules for name in ('jwt', 'cryptography')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0


@pytest.mark.parametrize("value", ["Bearer abc", "bearer abc", "BEARER  abc "])
def test_the_scheme_is_read_in_any_case(value):
    assert bearer_token(value) == "abc"


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (None, "no credentials: send `authorization: Bearer TOKEN`"),
        ("", "no credentials: send `authorization: Bearer TOKEN`"),
        ("Basic YTpi", "only the scheme Bearer"),
        ("abc", "only the scheme Bearer"),
        ("Bearer", "empty, too long"),
        ("Bearer a b", "empty, too long"),
        ("Bearer ä", "empty, too long"),
        ("Bearer a\tb", "empty, too long"),
        ("Bearer " + "a" * (16 * 1024 + 1), "empty, too long"),
    ],
)
def test_a_value_without_a_bearer_token_is_refused_with_what_to_do(value, hint):
    with pytest.raises(Unauthenticated, match=hint):
        bearer_token(value)


@given(st.text())
def test_any_text_is_a_token_or_unauthenticated(value):
    try:
        token = bearer_token(value)
    except Unauthenticated:
        return
    assert token
    assert token in value


def _canaries() -> list[str]:
    """Tokens that fail at every step there is; each holds the canary where it can be seen."""
    known, stranger = Signer("known"), Signer("stranger")
    claims = full_claims(sub=CANARY)
    return [
        CANARY,
        f"{CANARY}.{CANARY}.{CANARY}",
        known.token(sub=CANARY, aud=CANARY),
        known.token(sub=CANARY, iss=CANARY),
        known.token(sub=CANARY, exp=1),
        known.token(sub=CANARY, exp=CANARY),
        known.token(sub=CANARY, nbf=2**40),
        known.token(sub=CANARY, exp=None),
        stranger.token({"kid": CANARY}, sub=CANARY),
        stranger.token({"kid": "known"}, sub=CANARY),
        forged({"alg": "none"}, claims),
        forged({"alg": CANARY}, claims),
        forged({"alg": "ES256", "kid": "known"}, claims, CANARY.encode()),
        forged({"alg": "ES256", "kid": [CANARY]}, claims),
        forged({"alg": "ES256", "kid": "known", "crit": [CANARY]}, claims),
    ]


@pytest.mark.parametrize("token", _canaries())
async def test_no_part_of_a_token_shows_in_messages_reports_tracebacks_or_reprs(token, tmp_path, caplog):
    (tmp_path / "tokens").write_text(f"ci {CANARY}x\nbad line {CANARY}\n")
    (tmp_path / "keys").write_bytes(key_set(Signer("known")))
    said: list[str] = []
    modes = [
        AuthSettings(mode="token", token_file=str(tmp_path / "tokens")),
        AuthSettings(mode="jwt", jwks_file=str(tmp_path / "keys"), audience=AUDIENCE, issuer=ISSUER),
    ]
    for settings in modes:
        tested = _chosen(settings, said.append)
        for scheme in ("Bearer", "Basic", "Bearer x"):
            with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is another test's business
                await tested.authenticate(f"{scheme} {token}")
            said += [str(caught.value), repr(caught.value), repr(tested), repr(vars(tested))]
            said += traceback.format_exception(caught.value)
            said += [str(vars(caught.value))]
    # Payloads are base64: their canary shows only to those who decode, so the token's own parts are looked for too.
    secrets = [CANARY, *(part for part in token.split(".") if len(part) > 20)]
    assert not [secret for secret in secrets for text in [*said, caplog.text] if secret in text]


async def test_a_principal_shows_its_claims_and_no_token(tmp_path):
    signer = Signer("one")
    (tmp_path / "keys").write_bytes(key_set(signer))
    settings = AuthSettings(mode="jwt", jwks_file=str(tmp_path / "keys"), audience=AUDIENCE, issuer=ISSUER)
    tested = _chosen(settings)
    token = signer.token(team="blue")
    principal = await tested.authenticate(f"Bearer {token}")
    assert principal.claims["team"] == "blue"
    for part in token.split("."):
        assert part not in repr(principal) + repr(vars(tested))

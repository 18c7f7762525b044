"""Tests of `mcp_sidecar.inbound.auth.web_tokens` with real keys, files and a real key server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.call import Principal
from mcp_sidecar.errors import Unauthenticated, Unavailable
from mcp_sidecar.inbound.auth.key_sources import FileKeys, UrlKeys
from mcp_sidecar.inbound.auth.keys import find_key, parse_keys
from mcp_sidecar.inbound.auth.web_tokens import WebTokens
from mcp_sidecar.settings import AuthSettings
from tests.inbound.signing import AUDIENCE, ISSUER, Signer, forged, full_claims, key_server, key_set

ONE, TWO, RSA = Signer("one"), Signer("two"), Signer("rsa", "RS256")
ALL = ("RS256", "PS256", "ES256", "ES384", "EdDSA")


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def _ignore(_: str) -> None:
    """A report nobody reads."""


class FixedKeys:
    """A key source in memory that counts how often it is asked."""

    def __init__(self, *signers: Signer) -> None:
        self.generation = 1
        self.keys = parse_keys(key_set(*signers))
        self.asked = 0

    async def find(self, kid, algorithm):
        self.asked += 1
        return find_key(self.keys, kid, algorithm)


def _guard(keys, clock=time.monotonic, **settings) -> WebTokens:
    facts = {"mode": "jwt", "audience": AUDIENCE, "issuer": ISSUER, "algorithms": ALL, **settings}
    return WebTokens(AuthSettings(**facts), keys, clock)


async def _principal(guard: WebTokens, token: str) -> Principal:
    return await guard.authenticate(f"Bearer {token}")


async def _holds(guard: WebTokens, token: str) -> bool:
    return (await _principal(guard, token)).claims["aud"] != ""


async def _refusal(guard: WebTokens, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await _principal(guard, token)
    return caught.value.message


@pytest.mark.parametrize("algorithm", ALL)
async def test_a_good_token_gives_its_subject_and_claims(algorithm):
    signer = Signer(f"key of {algorithm}", algorithm)
    principal = await _principal(_guard(FixedKeys(ONE, signer)), signer.token(groups=["a", "b"]))
    assert principal.subject == "alice"
    assert principal.claims["groups"] == ["a", "b"]
    with pytest.raises(TypeError):
        principal.claims["groups"] = []  # type: ignore[index]


async def test_a_token_for_several_audiences_holds_when_ours_is_one_of_them():
    assert await _holds(_guard(FixedKeys(ONE)), ONE.token(aud=["other", AUDIENCE]))


async def test_a_token_without_subject_is_somebody_without_a_name():
    assert (await _principal(_guard(FixedKeys(ONE)), ONE.token(sub=None))).subject == ""


async def test_any_issuer_holds_where_none_is_set():
    guard = _guard(FixedKeys(ONE), issuer="")
    assert await _holds(guard, ONE.token(iss="https://elsewhere.test"))
    assert await _holds(guard, ONE.token(iss=None))


def _ago(seconds: int) -> int:
    return int(time.time()) - seconds


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"aud": "other"}, "the token is for another audience: ask its issuer for one for 'mcp-sidecar'"),
        ({"aud": ["other"]}, "the token is for another audience: ask its issuer for one for 'mcp-sidecar'"),
        ({"aud": []}, "the token lacks one of the claims exp, aud, iss"),
        ({"aud": None}, "the token lacks one of the claims exp, aud, iss"),
        ({"iss": "https://evil.test"}, "the token comes from another issuer than 'https://issuer.test'"),
        ({"iss": None}, "the token lacks one of the claims exp, aud, iss"),
        ({"exp": None}, "the token lacks one of the claims exp, aud, iss"),
        ({"exp": _ago(40)}, "the token has expired: get a new one"),
        ({"exp": "soon"}, "the token's signature or form does not hold"),
        ({"nbf": _ago(-3600)}, "the token is not valid yet: compare the clocks of its issuer and the sidecar"),
        ({"iat": _ago(-3600)}, "the token is not valid yet: compare the clocks of its issuer and the sidecar"),
        ({"nbf": "later"}, "the token's signature or form does not hold"),
        ({"sub": 7}, "the token's signature or form does not hold"),
    ],
)
async def test_a_token_whose_claims_do_not_fit_is_refused_with_what_to_do(claims, message):
    assert await _refusal(_guard(FixedKeys(ONE)), ONE.token(**claims)) == message


async def test_clocks_may_differ_by_half_a_minute():
    guard = _guard(FixedKeys(ONE))
    assert await _holds(guard, ONE.token(exp=_ago(20)))
    assert await _holds(guard, ONE.token(nbf=_ago(-20)))


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "HS256", "HS512", "RS256 ", "", None, 7, ["ES256"]])
async def test_an_algorithm_that_is_not_accepted_is_refused_whatever_the_signature(alg):
    guard = _guard(FixedKeys(ONE))
    for signature in (b"", b"x" * 64):
        message = await _refusal(guard, forged({"alg": alg, "kid": "one"}, full_claims(), signature))
        assert message in (
            "the token is not signed in an accepted way; accepted: RS256, PS256, ES256, ES384, EdDSA",
            "the bearer token is not a JSON Web Token",
        )


async def test_signing_with_the_public_key_as_a_shared_secret_does_not_help():
    guard = _guard(FixedKeys(RSA), algorithms=("HS256", "RS256"))
    for secret in (RSA.pem(), json.dumps(RSA.jwk()).encode()):
        unsigned = forged({"alg": "HS256", "kid": "rsa"}, full_claims()).rstrip(".")
        mac = hmac.new(secret, unsigned.encode(), hashlib.sha256).digest()
        token = forged({"alg": "HS256", "kid": "rsa"}, full_claims(), mac)
        assert await _refusal(guard, token) == "the token is not signed in an accepted way; accepted: RS256"
    assert await _holds(guard, RSA.token())


async def test_a_key_serves_no_algorithm_of_another_family():
    message = await _refusal(_guard(FixedKeys(ONE, RSA)), ONE.token({"kid": "rsa"}))
    assert message == "the token is signed with a key that this sidecar does not know"


async def test_a_key_inside_the_token_is_not_used():
    mallory = Signer("mallory")
    for header in ({"jwk": mallory.jwk()}, {"jku": "http://127.0.0.1:1/"}, {"x5u": "http://127.0.0.1:1/"}):
        for kid in ("one", "mallory"):
            assert await _refusal(_guard(FixedKeys(ONE)), mallory.token({**header, "kid": kid}))


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_a_token_altered_in_any_part_is_refused(part):
    guard = _guard(FixedKeys(ONE))
    other = ONE.token({"typ": "at+jwt"}, sub="bob").split(".")
    parts = ONE.token().split(".")
    assert await _holds(guard, ".".join(parts))
    parts[part] = other[part]
    assert await _refusal(guard, ".".join(parts)) == "the token's signature or form does not hold"


async def test_a_verified_token_is_not_verified_again_until_it_expires():
    clock = Clock()
    keys = FixedKeys(ONE)
    guard = _guard(keys, clock)
    token = ONE.token(exp=_ago(-100))
    first = await _principal(guard, token)
    for _ in range(10):
        assert await _principal(guard, token) is first
    assert keys.asked == 1
    clock.now += 101
    await _principal(guard, token)
    assert keys.asked == 2


async def test_an_expired_token_in_its_last_half_minute_is_verified_each_time():
    keys = FixedKeys(ONE)
    guard = _guard(keys)
    token = ONE.token(exp=_ago(5))
    await _principal(guard, token)
    await _principal(guard, token)
    assert keys.asked == 2


@pytest.mark.parametrize("exp", [2**60, 10**400])
async def test_a_token_that_never_expires_is_verified_again_after_five_minutes(exp):
    clock = Clock()
    keys = FixedKeys(ONE)
    guard = _guard(keys, clock)
    token = ONE.token(exp=exp)
    await _principal(guard, token)
    clock.now += 299
    await _principal(guard, token)
    assert keys.asked == 1
    clock.now += 2
    await _principal(guard, token)
    assert keys.asked == 2


async def test_when_the_keys_change_every_token_is_verified_again():
    keys = FixedKeys(ONE)
    guard = _guard(keys)
    token = ONE.token()
    await _principal(guard, token)
    keys.keys = FixedKeys(TWO).keys
    keys.generation += 1
    assert await _refusal(guard, token) == "the token is signed with a key that this sidecar does not know"


async def test_a_refused_token_is_not_remembered():
    guard = _guard(FixedKeys(ONE))
    for _ in range(3):
        await _refusal(guard, ONE.token(aud="other"))
    assert not guard._verdicts


async def test_the_memory_of_verified_tokens_is_bounded_and_the_least_recently_used_go_first():
    keys = FixedKeys(Signer("ed", "EdDSA"))
    guard = _guard(keys)
    signer = Signer("ed", "EdDSA")
    favourite = signer.token(jti="favourite")
    await _principal(guard, favourite)
    for number in range(1100):
        await _principal(guard, signer.token(jti=str(number)))
        if number % 500 == 0:
            await _principal(guard, favourite)
    assert len(guard._verdicts) == 1024
    asked = keys.asked
    await _principal(guard, favourite)
    assert keys.asked == asked


async def test_a_key_file_that_is_rotated_is_followed(tmp_path):
    clock = Clock()
    path = tmp_path / "keys"
    path.write_bytes(key_set(ONE))
    reports: list[str] = []
    guard = _guard(FileKeys(str(path), reports.append, clock), clock)
    old = ONE.token()
    assert await _holds(guard, old)
    assert await _refusal(guard, TWO.token())
    path.write_bytes(key_set(TWO))
    clock.now += 1.1
    assert await _holds(guard, TWO.token())
    assert await _refusal(guard, old), "verified before, by a key that is gone"
    path.write_bytes(b"{")
    clock.now += 1.1
    assert await _holds(guard, TWO.token())
    assert len(reports) == 1


async def test_without_a_key_file_the_sidecar_says_that_it_cannot_tell(tmp_path):
    guard = _guard(FileKeys(str(tmp_path / "none"), _ignore))
    with pytest.raises(Unavailable):
        await _principal(guard, ONE.token())


async def test_a_token_of_a_rotated_key_holds_once_the_key_server_publishes_it():
    clock = Clock()
    with key_server(key_set(ONE)) as server:
        guard = _guard(UrlKeys(server.url, _ignore, clock), clock)
        assert await _holds(guard, ONE.token())
        server.body = key_set(ONE, TWO)
        clock.now += 10.1
        assert await _holds(guard, TWO.token())
        assert server.asked == 2


async def test_verified_tokens_and_known_keys_go_on_while_the_key_server_is_down():
    clock = Clock()
    with key_server(key_set(ONE)) as server:
        guard = _guard(UrlKeys(server.url, _ignore, clock), clock)
        token = ONE.token()
        assert await _holds(guard, token)
        server.status = 503
        clock.now += 301
        assert await _holds(guard, token)
        assert await _holds(guard, ONE.token(sub="bob"))
        assert "key that this sidecar does not know" in await _refusal(guard, TWO.token())


async def test_without_a_key_server_a_token_is_not_called_bad():
    with key_server(b"") as server:
        guard = _guard(UrlKeys(server.url, _ignore))
        with pytest.raises(Unavailable) as caught:
            await _principal(guard, ONE.token())
        assert caught.value.retry_after


async def test_garbage_does_not_reach_the_key_server():
    with key_server(key_set(ONE)) as server:
        guard = _guard(UrlKeys(server.url, _ignore))
        for token in ("abc", "a.b.c", forged({"alg": "none"}, {}), forged({"alg": "HS256", "kid": "x"}, {}, b"x")):
            await _refusal(guard, token)
        assert server.asked == 0


_SEGMENT = st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=30)
_VALUE = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.lists(st.text(max_size=3))
_HEADER = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "zip", "x"]), _VALUE)
_CLAIMS = st.dictionaries(st.sampled_from(["sub", "aud", "iss", "exp", "nbf", "iat", "jti", "x"]), _VALUE)


@given(st.lists(_SEGMENT, max_size=5).map(".".join))
async def test_any_text_is_refused_as_no_token(token):
    await _refusal(_guard(FixedKeys(ONE)), token)


@given(_HEADER, _CLAIMS, st.binary(max_size=70), st.sampled_from(["ES256", None]))
async def test_any_forged_token_is_refused(header, claims, signature, alg):
    header = {**header, "alg": alg, "kid": "one"} if alg else header
    await _refusal(_guard(FixedKeys(ONE)), forged(header, claims, signature))


@given(_CLAIMS)
async def test_any_claims_that_a_known_key_signed_give_a_principal_or_a_refusal(claims):
    try:
        principal = await _principal(_guard(FixedKeys(ONE)), ONE.token(**claims))
    except Unauthenticated:
        return
    assert principal.claims["aud"]


@pytest.mark.parametrize("depth", [100, 5000])
async def test_nesting_without_end_is_refused(depth):
    nested = b"[" * depth + b"]" * depth
    header = b'{"alg":"ES256","kid":"one","x":' + nested + b"}"
    for parts in ((header, b"{}", b"x"), (b'{"alg":"ES256","kid":"one"}', nested, b"x"), (nested, b"{}", b"x")):
        token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
        await _refusal(_guard(FixedKeys(ONE)), token)

"""Tokens in files that change under us."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_sidecar.errors import UpstreamUnavailable
from mcp_sidecar.outbound.credentials import NO_CREDENTIAL, Credentials
from mcp_sidecar.settings import UpstreamAuthSettings, UpstreamSettings
from tests.wire.loopback import Clock


def upstream(path: Path | str, name: str = "up") -> UpstreamSettings:
    return UpstreamSettings(name=name, auth=UpstreamAuthSettings(bearer_file=str(path)))


def watching(clock: Clock) -> Credentials:
    return Credentials(clock=clock)


def test_without_a_file_nothing_is_shown():
    assert Credentials().of(upstream("")) is NO_CREDENTIAL


def test_the_token_becomes_a_header_and_stays_out_of_the_repr(tmp_path: Path):
    (file := tmp_path / "token").write_text("  s3cret\n")
    credential = Credentials().of(upstream(file))
    assert credential.header == b"authorization: Bearer s3cret\r\n"
    assert "s3cret" not in repr(credential)
    assert "s3cret" not in credential.fingerprint and len(credential.fingerprint) == 12


@pytest.mark.covers("B-284")
def test_a_changed_token_is_seen_within_a_second_and_leaves_connections_where_they_are(tmp_path: Path):
    clock = Clock()
    (file := tmp_path / "token").write_text("one")
    credential = (credentials := watching(clock)).of(upstream(file))
    source, fingerprint = credential.source, credential.fingerprint
    file.write_text("another")
    assert credential.header == b"authorization: Bearer one\r\n"  # not looked at again yet
    clock.now += 1.0
    assert credential.header == b"authorization: Bearer another\r\n"
    assert credentials.of(upstream(file)) is credential
    assert (credential.source, credential.fingerprint != fingerprint) == (source, True)


@pytest.mark.covers("B-284")
def test_a_refused_token_is_looked_at_again_at_once(tmp_path: Path):
    (file := tmp_path / "token").write_text("one")
    credential = watching(Clock()).of(upstream(file))
    file.write_text("another")
    credential.doubt()
    assert credential.header == b"authorization: Bearer another\r\n"


def test_a_token_swapped_by_a_symbolic_link_is_seen(tmp_path: Path):
    clock = Clock()
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"token-{name}")
    link = tmp_path / "token"
    link.symlink_to(tmp_path / "a")
    credentials = watching(clock)
    assert b"token-a" in credentials.of(upstream(link)).header
    (tmp_path / "new").symlink_to(tmp_path / "b")
    (tmp_path / "new").rename(link)
    clock.now += 1.0
    assert b"token-b" in credentials.of(upstream(link)).header


@pytest.mark.parametrize(
    "unfit", [b"", b" \n", b"two\nlines", b"a\r\nx: y", b"gr\xfc\xdfe", "größe".encode(), b"nul\0"]
)
def test_the_last_good_token_stays_while_the_file_is_unfit_and_the_next_good_one_counts(tmp_path: Path, unfit: bytes):
    clock = Clock()
    (file := tmp_path / "token").write_text("good")
    credentials = watching(clock)
    good = credentials.of(upstream(file))
    file.write_bytes(unfit)
    clock.now += 1.0
    assert b"good" in good.header
    file.write_text("better")
    clock.now += 1.0
    assert b"better" in credentials.of(upstream(file)).header


def test_a_file_that_vanished_leaves_the_last_token(tmp_path: Path):
    clock = Clock()
    (file := tmp_path / "token").write_text("good")
    credentials = watching(clock)
    good = credentials.of(upstream(file))
    file.unlink()
    clock.now += 1.0
    assert b"good" in good.header


@pytest.mark.parametrize("unfit", [None, b"", b"two\nlines"])
def test_a_token_that_was_never_readable_is_an_error_that_names_the_server_and_no_path(
    tmp_path: Path, unfit: bytes | None
):
    file = tmp_path / "token"
    if unfit is not None:
        file.write_bytes(unfit)
    credentials = Credentials()
    with pytest.raises(UpstreamUnavailable, match="'up'") as caught:
        credentials.of(upstream(file))
    assert str(tmp_path) not in str(caught.value)
    file.write_text("late")
    assert b"late" in credentials.of(upstream(file)).header


def test_a_folder_in_the_place_of_the_token_is_an_error_like_any_other(tmp_path: Path):
    with pytest.raises(UpstreamUnavailable):
        Credentials().of(upstream(tmp_path))


def test_upstreams_with_one_file_share_its_credential(tmp_path: Path):
    (file := tmp_path / "token").write_text("shared")
    credentials = Credentials()
    assert credentials.of(upstream(file, "a")) is credentials.of(upstream(file, "b"))

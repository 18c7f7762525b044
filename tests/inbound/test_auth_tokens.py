"""Tests of `mcp_sidecar.inbound.auth.static_tokens` and `mcp_sidecar.watched`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_sidecar.errors import Unauthenticated, Unavailable
from mcp_sidecar.inbound.auth.static_tokens import StaticTokens, parse_tokens


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


class Held:
    """A token file and what guards with it."""

    def __init__(self, path, text: str | None) -> None:
        self.path = path / "tokens"
        if text is not None:
            self.path.write_text(text)
        self.clock = Clock()
        self.reports: list[str] = []
        self.tokens = StaticTokens(str(self.path), self.reports.append, self.clock)

    async def subject(self, token: str) -> str:
        return (await self.tokens.authenticate(f"Bearer {token}")).subject

    async def refused(self, token: str) -> bool:
        try:
            await self.subject(token)
        except Unauthenticated:
            return True
        return False


async def test_each_line_is_a_token_with_or_without_its_subject(tmp_path):
    held = Held(tmp_path, "# for the build\nci  s3cret\n\n  other-token  \r\n")
    assert await held.subject("s3cret") == "ci"
    assert await held.subject("other-token") == "token"
    for wrong in ("ci", "s3cre", "s3cret2", "#", "S3CRET"):
        assert await held.refused(wrong)
    assert held.reports == []


async def test_a_changed_file_is_seen_within_a_second(tmp_path):
    held = Held(tmp_path, "old-token")
    assert await held.subject("old-token")
    held.path.write_text("new-token")
    held.clock.now += 0.5
    assert await held.refused("new-token"), "looked again too soon"
    held.clock.now += 0.6
    assert await held.subject("new-token")
    assert await held.refused("old-token")


@pytest.mark.parametrize(
    ("damage", "trouble"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_text(""), "holds no token"),
        (lambda path: path.write_text("# nothing\n"), "holds no token"),
        (lambda path: path.write_text("fine\nthree words here\n"), "line 2 is neither"),
        (lambda path: path.write_text("tökèn"), "line 1 is neither"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "not UTF-8"),
        (lambda path: path.write_bytes(b"a\n" * 200_000), "larger than 256 KiB"),
        (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
    ],
)
async def test_a_file_that_went_bad_leaves_the_last_good_list_in_force_and_is_reported_once(tmp_path, damage, trouble):
    held = Held(tmp_path, "good-token")
    assert await held.subject("good-token")
    damage(held.path)
    for _ in range(3):
        held.clock.now += 1.1
        assert await held.subject("good-token")
    (report,) = held.reports
    assert trouble in report
    assert "stays in force" in report
    assert str(held.path) in report
    held.path.rmdir() if held.path.is_dir() else held.path.unlink(missing_ok=True)
    held.path.write_text("next-token")
    held.clock.now += 1.1
    assert await held.subject("next-token")


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"a\n" * 200_000)])
async def test_the_same_trouble_is_reported_again_after_a_good_time_between(tmp_path, damage):
    held = Held(tmp_path, "good-token")
    for _ in range(2):
        assert await held.subject("good-token")
        damage(held.path)
        held.clock.now += 1.1
        assert await held.subject("good-token")
        held.path.write_text("good-token")
        held.clock.now += 1.1
    assert len(held.reports) == 2


async def test_without_any_list_the_sidecar_says_that_it_cannot_tell(tmp_path):
    held = Held(tmp_path, None)
    with pytest.raises(Unavailable) as caught:
        await held.subject("some-token")
    assert caught.value.retry_after == 1.0
    assert "nobody can be let in" in held.reports[0]
    held.path.write_text("some-token")
    held.clock.now += 1.1
    assert await held.subject("some-token")


def test_a_file_that_cannot_be_used_is_reported_before_anybody_calls(tmp_path):
    assert "No such file" in Held(tmp_path, None).reports[0]


async def test_no_credentials_are_refused_even_when_there_is_no_list(tmp_path):
    with pytest.raises(Unauthenticated):
        await Held(tmp_path, None).tokens.authenticate(None)


async def test_the_tokens_themselves_are_not_kept(tmp_path):
    held = Held(tmp_path, "ci s3cret-t0ken")
    await held.subject("s3cret-t0ken")
    state = vars(held.tokens._file)
    assert "subject='ci'" in repr(state)
    assert "s3cret-t0ken" not in repr(state)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_token_list_or_one_error(contents):
    try:
        entries = parse_tokens(contents)
    except ValueError:
        return
    assert entries

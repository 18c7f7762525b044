"""The judgement by itself, and the files it reads: nothing fails unseen, nothing is excused for ever."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conformance import combinations
from tests.conformance.harness import Outcome
from tests.conformance.judgement import EXPECTED, judge

FILES = sorted(EXPECTED.glob("*.yml"))


def _outcome(**checks: str) -> Outcome:
    return Outcome("ping", {id_: (status, "because") for id_, status in checks.items()}, 0, 0)


def test_a_failure_and_a_warning_have_to_be_expected() -> None:
    judgement = judge([_outcome(a="FAILURE", b="WARNING", c="SUCCESS", d="SKIPPED")], [])
    assert judgement.unexpected == ("ping:a: because", "ping:b: because")
    assert not judgement.good


def test_a_check_or_its_scenario_can_be_expected_to_fail() -> None:
    failing = [_outcome(a="FAILURE")]
    assert judge(failing, ["ping:a"]).good
    assert judge(failing, ["ping"]).good


@pytest.mark.parametrize("entry", ["ping:b", "ping:c", "ping:nothing", "pong", "pong:a"])
def test_what_is_expected_to_fail_and_does_not_is_stale(entry: str) -> None:
    judgement = judge([_outcome(a="FAILURE", b="SUCCESS", c="SKIPPED")], ["ping:a", entry])
    assert judgement.stale == (entry,)
    assert not judgement.good


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_expected_failure_has_its_reason_beside_it(path: Path) -> None:
    entries = [line for line in path.read_text().splitlines() if line.lstrip().startswith("- ")]
    assert entries, "nothing is expected to fail: the file can go"
    assert [line for line in entries if not re.search(r" # \w", line)] == []


def test_every_file_of_expected_failures_is_used() -> None:
    rows = (*combinations.SERVER_SIDE, *combinations.CLIENT_SIDE)
    assert {row.expected for row in rows if row.expected} == {path.name for path in FILES}


def test_every_combination_has_a_name_of_its_own() -> None:
    names = [row.name for row in combinations.SERVER_SIDE]
    names += [row.name for row in combinations.CLIENT_SIDE]
    assert len(names) == len(set(names))

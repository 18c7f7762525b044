"""The suite as the server: what the sidecar sends upstream is what a conforming client would send."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance import harness
from tests.conformance.combinations import CLIENT_SIDE, ClientCombination
from tests.conformance.judgement import Judgement, judge, read_expected

# The sidecar sends the credentials it is given and never asks for any (basic/authorization).
_LEFT_OUT = ("auth/",)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("combination", CLIENT_SIDE, ids=lambda combination: combination.name)
def test_every_client_scenario_ends_as_expected(
    combination: ClientCombination, tmp_path: Path, report: Callable[[str, Judgement], None]
) -> None:
    command = [sys.executable, "-m", "tests.conformance.client", combination.face]
    names = [name for name in harness.applicable("client", combination.revision) if not name.startswith(_LEFT_OUT)]
    required = harness.required("client", combination.revision)
    assert {name for name in required if not name.startswith(_LEFT_OUT)} <= set(names)
    # One by one: all at once they take the time from each other until they are killed.
    outcomes = [harness.judge_client(command, name, combination.revision, tmp_path) for name in names]
    judgement = judge(outcomes, read_expected(combination.expected, "client"))
    report(combination.name, judgement)
    assert judgement.good, judgement.complaint

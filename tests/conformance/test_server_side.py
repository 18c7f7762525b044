"""The suite as the client: what reaches the fixture through the sidecar is what would reach it directly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance import harness, ways
from tests.conformance.combinations import SERVER_SIDE, Combination
from tests.conformance.judgement import Judgement, judge, read_expected


@pytest.mark.timeout(110)
@pytest.mark.parametrize("combination", SERVER_SIDE, ids=lambda combination: combination.name)
def test_every_server_scenario_ends_as_expected(
    combination: Combination, tmp_path: Path, report: Callable[[str, Judgement], None]
) -> None:
    with ways.fixture(combination.upstream) as server, combination.way(server.url) as url:
        outcomes = harness.judge_server(url, combination.revision, tmp_path)
        judgement = judge(outcomes, read_expected(combination.expected, "server"))
        report(combination.name, judgement)
        assert judgement.good, judgement.complaint  # in here: a failure brings the logs of the processes with it
    assert harness.required("server", combination.revision) <= {outcome.scenario for outcome in outcomes}

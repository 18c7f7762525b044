"""Shows the results of the conformance suite as a table at the end of the run, whatever process they come from."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.judgement import Judgement

_RESULT = "conformance"


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[str, Judgement], None]:
    """Put a line into the table."""

    def put(name: str, judgement: Judgement) -> None:
        counts = (judgement.scenarios, judgement.passed, judgement.failed)
        record_property(_RESULT, [name, *counts, len(judgement.unexpected), len(judgement.stale)])

    return put


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [one for kind in ("passed", "failed") for one in terminalreporter.getreports(kind)]
    rows = sorted(
        value for one in reports if one.when == "call" for key, value in one.user_properties if key == _RESULT
    )
    if rows:
        terminalreporter.section("conformance")
        terminalreporter.write_line(f"{'':40}scenarios  passed  failed  unexpected  stale")
        for name, *counts in rows:
            scenarios, passed, failed, unexpected, stale = counts
            terminalreporter.write_line(f"{name:40}{scenarios:9}{passed:8}{failed:8}{unexpected:12}{stale:7}")

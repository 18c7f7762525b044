"""Says in one sentence what is missing before any test here begins; knows no page."""

from __future__ import annotations

import pytest

from tests.support.browser import missing

if missing():
    pytest.exit(f"the tests in a browser cannot run: {missing()}", returncode=1)

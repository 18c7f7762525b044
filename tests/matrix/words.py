"""What the checks of the matrix need to know about each server: the names of its tools, and what they answer.

The checks are in tests/matrix/clients. In place of a check's words may stand why the server cannot do it at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.matrix.clients import checks

Words = Mapping[str, Any]

CHECKS = tuple(checks.CHECKS)
REVISION = CHECKS[0]
"""The check whose words depend on the client (tests/matrix/pairs.py); all others are below."""

SDK: Words = {
    "list": {"tool": "echo"},
    "call": {"tool": "echo", "arguments": {"text": 'hi "ü"'}, "says": 'hi "ü"'},
    # The pause keeps the steps apart: over a pipe, TypeScript clients lose those that come together with the result.
    "progress": {"tool": "progress", "arguments": {"steps": 4, "pause": 0.05}, "steps": [1, 2, 3, 4]},
    "tool error": {"tool": "fail", "arguments": {"text": "on purpose"}, "says": "on purpose"},
    # Each revision has a code of its own for a resource that is not there; 1.x has none.
    "protocol error": {"uri": "demo://nothing", "codes": [-32602, -32002, 0]},
    "cancellation": {"tool": "slow", "arguments": {"seconds": 30}, "asked": "given_up"},
    "elicitation": {"tool": "ask_name", "arguments": {}, "says": f"accept: {checks.ANSWER['name']}"},
    "sampling": {"tool": "ask_rhyme", "arguments": {"word": "well"}, "says": f"well rhymes with {checks.RHYME}"},
    "subscription": {"uri": "demo://counter", "tool": "count_up"},
}
"""Both Python SDKs have the tools of tests/support/servers."""

_NO_SESSION = "the server keeps no session"
STATELESS: Words = {**SDK, **dict.fromkeys(("cancellation", "elicitation", "sampling", "subscription"), _NO_SESSION)}

EVERYTHING: Words = {
    "list": {"tool": "get-sum"},
    "call": {"tool": "get-sum", "arguments": {"a": 1.5, "b": 2}, "says": "3.5"},
    "progress": {
        "tool": "trigger-long-running-operation",
        "arguments": {"duration": 0.2, "steps": 4},
        "steps": [1, 2, 3, 4],
    },
    "tool error": {"tool": "get-sum", "arguments": {"a": "x"}, "says": "Invalid arguments"},
    "protocol error": {"uri": "demo://resource/nothing/1", "codes": [-32602, -32002]},
    "cancellation": "the server has no tool that says what was cancelled",
    "elicitation": {"tool": "trigger-elicitation-request", "arguments": {}, "says": f"Name: {checks.ANSWER['name']}"},
    "sampling": {"tool": "trigger-sampling-request", "arguments": {"prompt": "well"}, "says": checks.RHYME},
    # The tool is a switch, for updates every five seconds; the first comes at once.
    "subscription": {"uri": "demo://resource/dynamic/text/1", "tool": "toggle-subscriber-updates"},
}

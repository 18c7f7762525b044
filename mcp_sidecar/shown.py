"""What is shown of words that others chose, and may be kept after their call: short, and without what may be a key.

Knows no log and no span.
"""

from __future__ import annotations

import re

LONGEST = 128
"""Characters of a name, in what outlives its call by much: log lines, labels, the last calls."""

_BEHIND = re.compile(r"([?#]).*", re.DOTALL)
_USER = re.compile(r"(//)[^/\s]*@")  # a password may hold `?` and `#`, unlike a host


def uri(text: str) -> str:
    """`scheme://host/path?…`: keys stand behind `?` or `#`, and in front of a host."""
    if "@" in text:
        text = _USER.sub(r"\1…@", text, count=1)
    return _BEHIND.sub(r"\1…", text, count=1) if "?" in text or "#" in text else text


def shown_name(method: str, name: str, most: int = LONGEST) -> str:
    """What a message of `method` names (a tool, a prompt, a resource by its URI, a task)."""
    return (uri(name) if method.startswith("resources/") else name)[:most]

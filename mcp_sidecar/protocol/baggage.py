"""W3C Baggage: what of a caller's list may go on to MCP servers; knows no header and no message.

Baggage holds what an application says of its user or tenant. A server that nobody chose for that must not get it, so
only members that are named go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

KEY = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}"
"""What a member is called: a token of HTTP."""
# Visible ASCII without quotation mark, comma, semicolon and backslash (W3C Baggage, 3.3.1).
_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]*")
_KEY = re.compile(KEY)
_BLANKS = " \t"
MOST_BYTES = 8192
_MOST_MEMBERS = 64


class Allowed:
    """The members that may go on, by their names."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._keys = frozenset(keys)

    def of(self, text: str | None) -> str:
        """The members that may go on, as they are written; none of a list that is malformed or too long."""
        if not self._keys or not text or len(text) > MOST_BYTES:
            return ""
        members = text.split(",")
        names = [_name(member) for member in members]
        if len(members) > _MOST_MEMBERS or "" in names:
            return ""  # who knows what the next one would read in it
        kept = (member for name, member in zip(names, members, strict=True) if name in self._keys)
        return ",".join(member.strip(_BLANKS) for member in kept)


def _name(member: str) -> str:
    """What a member is called; empty for one that is malformed."""
    first, *properties = member.split(";")
    key, equals, value = (part.strip(_BLANKS) for part in first.partition("="))
    well = equals and _KEY.fullmatch(key) and _VALUE.fullmatch(value) and all(map(_is_property, properties))
    return key if well else ""


def _is_property(text: str) -> bool:
    """A property is a key, or a key and a value."""
    key, _, value = (part.strip(_BLANKS) for part in text.partition("="))
    return _KEY.fullmatch(key) is not None and _VALUE.fullmatch(value) is not None


NOTHING = Allowed()

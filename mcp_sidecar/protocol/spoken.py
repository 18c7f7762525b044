"""What a line on a program's output is: a message, other JSON, or words. Knows no era and no process."""

from __future__ import annotations

import re
from enum import Enum

import msgspec

_SPACE = b" \t\r\n"  # what JSON allows around a value
_BOM = b"\xef\xbb\xbf"
_VERSION = b'"jsonrpc"'
_ENVELOPE = frozenset(("jsonrpc", "id", "method", "params", "result", "error"))
# How a message begins, or an array of them, however early it is cut off.
_BEGINNING = re.compile(rb'(?:\[[ \t\r]*)?\{[ \t\r]*(?:"|\Z)')
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])


class Line(Enum):
    """What can be made of a line."""

    MESSAGE = "message"
    """It is meant as one: whether it is one, the parser finds out. What was cut off is among these, so that whoever
    waits for it need not wait for ever."""
    JSON = "json"
    """A whole value that has nothing of a message, such as a log line in JSON."""
    WORDS = "words"


def bare(line: bytes) -> bytes:
    """The line without a byte order mark and the white space around it."""
    return line.removeprefix(_BOM).strip(_SPACE)


def is_usual(line: bytes) -> bool:
    """It is meant as a message, as can be told from nearly all of them without reading them."""
    return line.startswith(b'{"') and _VERSION in line


def judge(line: bytes) -> Line:
    """What a `bare` line is."""
    if not line.startswith((b"{", b"[")):
        return Line.WORDS
    try:
        meant = _is_meant(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Line.MESSAGE if _BEGINNING.match(line) else Line.WORDS
    return Line.MESSAGE if meant else Line.JSON


def _is_meant(value: bytes) -> bool:
    """A JSON object has a member of a message, or one in an array does."""
    if value.startswith(b"["):
        return any(_is_meant(bytes(one)) for one in _array.decode(value) if bytes(one).startswith(b"{"))
    return not _ENVELOPE.isdisjoint(_object.decode(value))

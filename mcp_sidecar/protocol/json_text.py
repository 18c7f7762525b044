"""What is refused in any JSON text, whatever it means: bad UTF-8, depth, numbers beyond doubles. Knows no message."""

from __future__ import annotations

import json
import re
from array import array
from itertools import accumulate
from math import isinf

import msgspec

from mcp_sidecar.errors import MalformedMessage

MAX_DEPTH = 64
# Up to here reading a value costs less than looking for large numbers in it.
SHORT = 4096
decode = msgspec.json.Decoder().decode
_perhaps_too_large = re.compile(rb"[0-9](?:[eE]\+?[0-9]{3}|[0-9]{308})").search
_brackets = bytes.maketrans(b"{}", b"[]")
_steps = bytes.maketrans(b"[]", b"\x01\xff")
_no_brackets = bytes(set(range(256)) - set(b"[]{}"))


def holds_infinity(value: bytes) -> bool:
    """A number in the value (valid JSON) is larger than any double."""
    if len(value) > SHORT and not _perhaps_too_large(value):
        return False
    try:
        decode(value)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        # Other reasons are half a surrogate pair or an integer of thousands of digits.
        found: list[bool] = []
        reader = json.JSONDecoder(parse_int=str, parse_float=lambda text: found.append(isinf(float(text))))
        reader.decode(value.decode())
        return any(found)
    return False


def check_text(data: bytes) -> None:
    """Refuse what is no UTF-8 and what is nested deeper than `MAX_DEPTH`."""
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            raise MalformedMessage(f"the message is not UTF-8 (byte {error.start})") from error
    if is_deeper(data, MAX_DEPTH):
        raise MalformedMessage(f"the message is nested deeper than {MAX_DEPTH} levels")


def is_deeper(data: bytes, levels: int) -> bool:
    """Nested deeper than so many levels. Nearly all messages have fewer brackets than that."""
    return data.count(b"{") + data.count(b"[") > levels and _depth_exceeds(data, levels)


def _depth_exceeds(data: bytes, levels: int) -> bool:
    """Count brackets up and down, outside of strings. The innermost pairs, mostly the bulk, are taken away unseen."""
    plain = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    outer = b"".join(plain.split(b'"')[::2]).translate(_brackets, _no_brackets).replace(b"[]", b"")
    return any(map((levels - 1).__lt__, accumulate(array("b", outer.translate(_steps)))))

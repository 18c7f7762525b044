"""JSON objects as slices of the bytes they arrived in, read and written; knows no envelope."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

import msgspec

from mcp_sidecar.errors import InvalidCall, MalformedMessage

MESSAGE = "the message"
"""The place of a whole message: only there an array is a batch."""

Members = dict[str, bytes]

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str)
_encode = msgspec.json.encode
# Numbers stay text: Python refuses to make an int of more than 4300 digits.
_count_members = json.JSONDecoder(object_pairs_hook=len, parse_int=str, parse_float=str).decode
_list_members = json.JSONDecoder(object_pairs_hook=list, parse_int=str, parse_float=str).decode


def members(raw: bytes, place: str) -> Members:
    """The members of an object as slices, in order. `place` names it in errors.

    Raises `InvalidCall` for duplicate keys, which parsers are free to read differently.
    """
    try:
        found = {key: bytes(value) for key, value in _members.decode(raw).items()}
    except msgspec.ValidationError as error:
        batch = place == MESSAGE and raw.lstrip(b" \t\r\n")[:1] == b"["
        raise InvalidCall("a JSON-RPC batch is not accepted" if batch else f"{place} must be an object") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage(f"{place} is not valid JSON: {error}") from error
    if _shortest(found) != len(raw) and found and _spaced(found) != raw:
        _refuse_duplicates(raw, place, len(found))
    return found


def _spaced(found: Members) -> bytes:
    """The members as Python's `json.dumps` writes them: too common to be walked through key by key."""
    return b"{%b}" % b", ".join([b"%b: %b" % (_encode(key), value) for key, value in found.items()])


def _refuse_duplicates(raw: bytes, place: str, count: int) -> None:
    """Read a valid JSON object again, with a parser that tells repeated keys; it has `count` different ones."""
    text = raw.decode()
    if _count_members(text) != count:
        key = Counter(key for key, _ in _list_members(text)).most_common(1)[0][0][:40]
        raise InvalidCall(f"{place} has the key {_encode(key).decode()} twice", violations=((key, "twice"),))


def as_string(raw: bytes | None) -> str | None:
    """The value of a JSON string, or None for anything else."""
    if raw is None:
        return None
    try:
        return _string.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def encode_object(items: Mapping[str, bytes]) -> bytes:
    """An object from slices, keys in order."""
    return b"{%b}" % b",".join([b"%b:%b" % (_encode(key), value) for key, value in items.items()])


def compact(raw: bytes) -> Members | None:
    """The members of an object that is written as we would write it, so without duplicates; None for any other text.

    The compact spelling of its members is the shortest there is: equal length leaves no room for another one.
    """
    try:
        found = {key: bytes(value) for key, value in _members.decode(raw).items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if _shortest(found) == len(raw) else None


def _shortest(found: Members) -> int:
    """The least bytes in which an object of these members can be written."""
    return sum(map(len, found)) + sum(map(len, found.values())) + 4 * len(found) + 1

"""JSON that keeps its value when it is spelt otherwise, and ways to spell it; knows nothing of JSON-RPC."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import strategies as st

# Values whose spelling a parser-and-printer would change.
FRAGILE = {
    "a float that is whole": b"1.0",
    "an exponent": b"1e2",
    "an exponent with sign and capital": b"-2.50E+07",
    "minus nothing": b"-0",
    "ten to the thirty": b"1" + b"0" * 30,
    "two to the sixty-four": b"18446744073709551616",
    "as much as a double holds": b"1e308",
    "five thousand digits": b"7" * 5000,
    "thirty decimals": b"0." + b"123456789" * 3,
    "an escaped slash": rb'"a\/b"',
    "escapes of letters": rb'"\u0041\u00e9\n\t\b\f\r\"\\"',
    "an emoji as a pair": rb'"\ud83d\ude00"',
    "an emoji as it is": '"😀 naïve 中文"'.encode(),
    "line separators": '"\u2028\u2029\u0085"'.encode(),
    "a zero character": rb'"\u0000"',
    "delete": b'"\x7f"',
    "keys out of order": b'{"b":1,"a":2,"B":3,"10":4,"9":5}',
    "white space inside": b'{ "b" : [ 1 ,\t2 ,\r\n3 ] }',
    "a duplicate inside": b'{"a":1,"a":2}',
    "nothing": b"null",
    "empty things": b'[{},[],"",null,true,false]',
}

texts = st.text(st.characters(codec="utf-8"), max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)
objects = st.dictionaries(texts, values, max_size=5)
blanks = st.text(" \t\r\n", max_size=3)


def escaped(text: str) -> str:
    """A JSON string in which every character of the basic plane is spelt as an escape."""
    return '"' + "".join(rf"\u{unit:04x}" for unit in _units(text)) + '"'


def _units(text: str) -> list[int]:
    raw = text.encode("utf-16-be")
    return [raw[at] << 8 | raw[at + 1] for at in range(0, len(raw), 2)]


def respelt(value: Any, chance: random.Random) -> str:
    """`value` as JSON with blanks and escapes thrown in."""

    def gap() -> str:
        return "".join(chance.choices(" \t\r\n", k=chance.choice((0, 0, 1, 2))))

    def text(plain: str) -> str:
        return escaped(plain) if chance.random() < 0.5 else json.dumps(plain, ensure_ascii=chance.random() < 0.5)

    def whole(part: Any) -> str:
        if isinstance(part, dict):
            return "{" + ",".join(f"{gap()}{text(k)}{gap()}:{whole(v)}" for k, v in part.items()) + gap() + "}"
        if isinstance(part, list):
            return "[" + ",".join(map(whole, part)) + gap() + "]"
        return gap() + (text(part) if isinstance(part, str) else json.dumps(part)) + gap()

    return whole(value)

"""One written value to one Python value, or a sentence why not; knows neither keys' names nor the rest of the file."""

from __future__ import annotations

import re
from typing import Any

from mcp_sidecar.config.forms import FORMS
from mcp_sidecar.config.problems import nearest, quoted
from mcp_sidecar.config.schema import Key
from mcp_sidecar.config.tree import Node
from mcp_sidecar.documented import Doc

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
BYTES = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
DURATION = r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|s|m|h)"
SIZE = r"([0-9]{1,12})(KiB|MiB|GiB)"
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?([0-9]{1,17}(\.[0-9]{0,17})?|\.[0-9]{1,17})([eE][-+]?[0-9]{1,2})?")
_SPOKEN = {"map": "a map", "list": "a list", "null": "nothing", "text": "text", "bool": "true or false"}


def value_of(node: Node, key: Key) -> Any:
    """Return the value; raises ValueError with the sentence for the user."""
    if node.kind in {"map", "list", "null"}:
        raise ValueError(f"expected {expected(key)}, got {_SPOKEN[node.kind]}")
    value = _READERS[key.doc.unit or key.type.__name__](node, key)
    _check_limits(value, node.text, key.doc)
    return value


def list_of(values: list[Any], key: Key) -> tuple[Any, ...]:
    """Return the value of a whole list; `off` is the empty list of addresses. Raises ValueError."""
    if key.doc.form == "listen" and "off" in values:
        if len(values) > 1:
            raise ValueError("off cannot stand beside addresses")
        return ()
    return tuple(values)


def expected(key: Key) -> str:
    """Say in words what kind of value a key takes."""
    if key.doc.unit == "seconds":
        return "a duration such as 250ms, 5s, 15m or 1h"
    if key.doc.unit == "bytes":
        return "a size such as 64KiB or 4MiB"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[key.type]


def _unexpected(node: Node, key: Key, hint: str = "") -> ValueError:
    return ValueError(f"expected {expected(key)}, got {quoted(node.text)}" + (f"; {hint}" if hint else ""))


def _seconds(node: Node, key: Key) -> float:
    if node.text == "0":
        return 0.0
    if written := re.fullmatch(DURATION, node.text):
        number, unit = written.groups()
        # Divided rather than multiplied by 0.001, which has no exact binary form: 3ms is then what Python calls 0.003.
        return float(number) / 1000 if unit == "ms" else float(number) * SECONDS[unit]
    raise _unexpected(node, key, f"add the unit, as in {node.text}s" if _WHOLE.fullmatch(node.text) else "")


def _bytes(node: Node, key: Key) -> int:
    if re.fullmatch("[0-9]{1,12}", node.text):
        return int(node.text)
    if written := re.fullmatch(SIZE, node.text):
        return int(written[1]) * BYTES[written[2]]
    raise _unexpected(node, key, "units are KiB, MiB and GiB; a bare number is bytes")


def _bool(node: Node, key: Key) -> bool:
    if node.kind not in {"bool", "any"} or node.text.lower() not in {"true", "false"}:
        raise _unexpected(node, key)
    return node.text.lower() == "true"


def _int(node: Node, key: Key) -> int:
    if node.kind not in {"int", "any"} or not _WHOLE.fullmatch(node.text):
        raise _unexpected(node, key)
    return int(node.text)


def _float(node: Node, key: Key) -> float:
    if node.kind not in {"int", "float", "any"} or not _NUMBER.fullmatch(node.text):
        raise _unexpected(node, key)
    return float(node.text)


def _str(node: Node, key: Key) -> str:
    if node.kind not in {"text", "any"}:
        raise _unexpected(node, key, "put it in quotes")
    FORMS[key.doc.form](node.text)
    return node.text


_READERS = {"seconds": _seconds, "bytes": _bytes, "bool": _bool, "int": _int, "float": _float, "str": _str}


def _check_limits(value: Any, text: str, doc: Doc) -> None:
    if isinstance(value, str):
        _check_choice(value, doc)
    elif not isinstance(value, bool) and not doc.low <= value <= doc.high:
        unit = {"seconds": "s", "bytes": " bytes"}.get(doc.unit, "")
        raise ValueError(f"{text} is outside {doc.low:.15g}{unit} to {doc.high:.15g}{unit}")


def _check_choice(value: str, doc: Doc) -> None:
    if value in doc.later:
        raise ValueError(f"{quoted(value)} is not available in this version")
    if doc.choices and value not in doc.choices:
        usable = [choice for choice in doc.choices if choice not in doc.later]
        meant = nearest(value, usable)
        hint = f'did you mean "{meant}"? ' if meant else ""
        raise ValueError(f"{quoted(value)} is not a choice; {hint}choices: {', '.join(usable)}")

"""How a setting is described: its sentence, unit and limits. Knows no setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MIB = 1024 * 1024
LARGEST = 2**31 - 1
"""gRPC takes its numbers, also its milliseconds, as signed 32-bit integers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a value must keep to; both ends inclusive."""

    unit: Literal["", "seconds", "bytes"] = ""
    low: float = 0
    high: float = LARGEST
    choices: tuple[str, ...] = ()
    form: Literal[
        "",
        "name",
        "url",
        "jwks",
        "file",
        "folder",
        "listen",
        "tcp",
        "separator",
        "collector",
        "namespace",
        "selector",
        "baggage",
    ] = ""
    """The grammar of a text."""
    required: bool = False
    later: tuple[str, ...] = ()
    """Values that belong to the format but that this version cannot honour."""
    only_default: bool = False
    """The key belongs to the format, but this version honours nothing but its default."""


@dataclass(frozen=True, slots=True)
class Doc(Limits):
    """One setting in a sentence, with its limits."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds(Doc):
    """A duration; the upper end is what fits gRPC's milliseconds."""

    unit: Literal["", "seconds", "bytes"] = "seconds"
    high: float = LARGEST // 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bytes(Doc):
    """A size."""

    unit: Literal["", "seconds", "bytes"] = "bytes"
    low: float = 1

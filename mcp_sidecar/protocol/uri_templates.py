"""Could a URI have come from this template (RFC 6570)? Looks at the shape only; knows no resource."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

_EXPRESSION = re.compile(r"\{([+#./;?&]?)[^{}]*\}")
_PREFIXED = "#./;?&"  # operators whose expansion begins with themselves, when there is one
_STOPS = {"": "/?#", "+": "", "#": "", ".": "/?#", "/": "?#", ";": "/?#", "?": "#", "&": "#"}
_LONGEST = 2048


def matches(template: str, uri: str) -> bool:
    """False also for what is too long to be tried.

    Every place that each part can end at is followed at once, so that no template takes long.
    """
    if len(uri) > _LONGEST or len(template) > _LONGEST:
        return False
    ends = {0}
    for literal, operator in _parts(template):
        ends = {end + len(literal) for end in ends if uri.startswith(literal, end)}
        if operator is not None:
            ends = _expanded(uri, ends, operator)
    return len(uri) in ends


@lru_cache(maxsize=1024)
def _parts(template: str) -> tuple[tuple[str, str | None], ...]:
    return tuple(_split(template))


def _split(template: str) -> Iterator[tuple[str, str | None]]:
    """The literals, each with the operator of the expression behind it; None behind the last."""
    end = 0
    for expression in _EXPRESSION.finditer(template):
        yield template[end : expression.start()], expression[1]
        end = expression.end()
    yield template[end:], None


def _expanded(uri: str, ends: set[int], operator: str) -> set[int]:
    """Where an expansion can end that begins at one of `ends`; it may be empty."""
    prefix = operator if operator and operator in _PREFIXED else ""
    stops = _STOPS[operator]
    reached: set[int] = set()
    for end in ends:
        at = end + len(prefix)
        if not uri.startswith(prefix, end):
            continue
        while at not in reached:
            reached.add(at)
            if at == len(uri) or uri[at] in stops:
                break
            at += 1
    return reached | ends

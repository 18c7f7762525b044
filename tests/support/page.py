"""What the Prometheus page of a sidecar says, as numbers; knows no instrument."""

from __future__ import annotations

import re

from tests.support import raw_http
from tests.support.sidecar import Sidecar

_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'\w+="((?:[^"\\]|\\.)*)"')


async def page_of(sidecar: Sidecar) -> str:
    """The text of `/metrics`."""
    return (await raw_http.request("GET", f"http://{sidecar.address('metrics')}/metrics")).body.decode()


def samples(page: str, name: str) -> dict[tuple[str, ...], float]:
    """The samples of one name, by the values of their labels."""
    found = (_SAMPLE.fullmatch(line) for line in page.splitlines() if line.startswith(name))
    return {tuple(_LABEL.findall(one[2] or "")): float(one[3]) for one in found if one and one[1] == name}


async def measured(sidecar: Sidecar, name: str) -> dict[tuple[str, ...], float]:
    """As `samples`, of the page as it is now."""
    return samples(await page_of(sidecar), name)

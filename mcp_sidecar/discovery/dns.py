"""Finds every address of the names in the configuration, as those of headless Services; knows no Kubernetes.

A name is looked up again every few seconds, and at once when an endpoint of it was found broken. A resolver that does
not answer changes nothing: what was known stays. That a name does not exist is an answer: a headless Service without a
ready pod has none.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from mcp_sidecar.directory import Endpoint, Upstream, is_name
from mcp_sidecar.discovery.pulse import Pulse
from mcp_sidecar.discovery.source import Address, Found, Publish
from mcp_sidecar.logs import Log

Resolve = Callable[[str], Awaitable[Sequence[str]]]
"""The addresses of a host, none when there is no such name. Raises `OSError` when that cannot be told."""

_ANSWER_SECONDS = 5.0
_LEAST_SECONDS = 0.5  # between two lookups of a name, however often its endpoints are found broken
# The resolver has answered, and there is nothing: "no such name", and "a name without addresses".
_ABSENT = frozenset((socket.EAI_NONAME, socket.EAI_NODATA))


async def resolve(host: str) -> Sequence[str]:
    """Ask the system's resolver."""
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in _ABSENT:
            return ()
        raise
    return [str(info[4][0]) for info in infos]


class DnsSource:
    """One watch for each endpoint of `names`, whose host is a name. `interval` is in seconds."""

    def __init__(
        self,
        names: Iterable[Endpoint],
        interval: float,
        log: Log,
        resolver: Resolve = resolve,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._names = {endpoint.upstream: endpoint for endpoint in names}
        self._interval = interval
        self._log = log
        self._resolve = resolver
        self._jitter = jitter
        self._found: dict[str, Found] = {}
        self._asked: set[str] = set()
        self._hurries = {name: asyncio.Event() for name in self._names}
        self._failing: set[str] = set()
        self.pulse = Pulse()

    async def run(self, publish: Publish) -> None:
        """See `Source.run`. The first publication comes when every name was asked for once."""
        if not self._names:
            publish(())
        async with asyncio.TaskGroup() as group:
            for endpoint in self._names.values():
                self.pulse.expect(endpoint.upstream)
                group.create_task(self._watch(endpoint, publish), name=f"resolve {endpoint.host}")

    def hurry(self, upstream: str) -> None:
        """An endpoint of it was found broken: look at once."""
        if upstream in self._hurries:
            self._hurries[upstream].set()

    async def _watch(self, endpoint: Endpoint, publish: Publish) -> None:
        name, hurry = endpoint.upstream, self._hurries[endpoint.upstream]
        while True:
            hurry.clear()
            found = await self._look(endpoint)
            if self._learn(name, found):
                publish(tuple(self._found.values()))
            await asyncio.sleep(min(_LEAST_SECONDS, self._interval))
            try:
                async with asyncio.timeout(max(0.0, self._interval * self._jitter(0.8, 1.2) - _LEAST_SECONDS)):
                    await hurry.wait()
            except TimeoutError:
                pass

    def _learn(self, name: str, found: Found | None) -> bool:
        """Take in what a lookup came to; True when there is something to publish."""
        first, news = name not in self._asked, found is not None and found != self._found.get(name)
        self._asked.add(name)
        if found is not None:
            self._found[name] = found
        return (first or news) and len(self._asked) == len(self._names)

    async def _look(self, endpoint: Endpoint) -> Found | None:
        """What the name stands for now; None when that cannot be told."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                hosts = await self._resolve(endpoint.host)
        except OSError as error:  # TimeoutError is one
            self._note(endpoint, str(error) or f"no answer within {_ANSWER_SECONDS:g} s")
            return None
        self.pulse.heard(endpoint.upstream)
        self._note(endpoint, "" if hosts else "the name has no addresses")
        return found_at(endpoint, hosts)

    def _note(self, endpoint: Endpoint, trouble: str) -> None:
        """Say once that a name leads nowhere, and once that it does again."""
        name = endpoint.upstream
        if trouble and name not in self._failing:
            self._failing.add(name)
            self._log.warning("resolver", server=name, host=endpoint.host, error=trouble)
        elif not trouble and name in self._failing:
            self._failing.discard(name)
            self._log.info("resolver", server=name, host=endpoint.host, state="found again")


def to_resolve(upstreams: Sequence[Upstream]) -> tuple[tuple[Upstream, ...], tuple[Endpoint, ...]]:
    """The upstreams without the endpoints whose host is a name, and these endpoints."""
    names = {one.name: end for one in upstreams for end in one.endpoints if isinstance(end, Endpoint) and is_name(end)}
    return tuple(replace(one, endpoints=()) if one.name in names else one for one in upstreams), tuple(names.values())


def found_at(endpoint: Endpoint, hosts: Iterable[str]) -> Found:
    """An upstream at every address of its name; in one order, whatever that of the answer."""
    return Found(
        name=endpoint.upstream,
        transport="sse" if endpoint.transport == "sse" else "http",
        secure=endpoint.secure,
        path=endpoint.path,
        authority=endpoint.authority,
        ready=tuple(Address(host, endpoint.port) for host in sorted(set(hosts))),
    )

"""Makes one set of servers of everything that is known: slices, Services, MCPServer objects. Knows no API and no clock.

What was found twice is one server, names are unique, and a server whose last instance goes stays known.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from mcp_sidecar.discovery.source import Address, Found
from mcp_sidecar.kube import markers, resources, slices
from mcp_sidecar.kube.markers import Complaint, Marked, Reading, Seen
from mcp_sidecar.kube.objects import Port, Server, Service, Slice

Complain = Callable[[str, Complaint], None]
"""Told the object and what is wrong with it."""
_RESERVED = frozenset((slices.SERVICE_NAME, "endpointslice.kubernetes.io/managed-by"))


class Take(enum.IntEnum):
    """What it means that a watch has found a Service."""

    NEVER = 0
    """It is only looked at to resolve what something else points to."""
    MARKED = 1
    """It is a server if it carries a marker."""
    ASKED = 2
    """It is a server: somebody selected it."""


@dataclass(frozen=True, slots=True)
class Sliced:
    """Slices that one watch has found."""

    take: Take
    gateways: bool
    known: Mapping[str, Slice]


@dataclass(frozen=True, slots=True)
class _Group:
    """All slices of a Service, oldest first, and how they were found."""

    slices: list[Slice]
    take: Take
    gateways: bool


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A server before what was found twice is merged. `key` stays the same while its instances change."""

    rank: float
    key: str
    fallback: str
    """A name that no other Service has."""
    found: Found


class Joining:
    """Joins again and again, and remembers what one look does not show."""

    def __init__(self, zone: str, complain: Complain) -> None:
        self._zone = zone
        self._complain = complain
        self._ports: dict[str, tuple[Port, ...]] = {}  # of Services whose last instance went, and its ports with it
        self._merged: dict[str, str] = {}

    def join(
        self,
        namespace: str,
        sliced: Iterable[Sliced],
        services: Mapping[str, Service],
        servers: Iterable[Server],
    ) -> tuple[Found, ...]:
        """The servers in a namespace, by name."""
        groups = _grouped(sliced)
        seen = {name: self._see(name, group, services.get(name)) for name, group in groups.items()}
        self._ports = {name: one.ports for name, one in seen.items()}
        candidates: list[_Candidate] = []
        for name, group in groups.items():
            if group.take is not Take.NEVER:
                candidates += self._services(namespace, seen[name], group)
        for server in servers:
            candidates += self._server(namespace, server, seen, groups)
        candidates.sort(key=lambda one: (one.rank, one.key))
        return self._named(self._once_each(candidates))

    def _see(self, name: str, group: _Group, service: Service | None) -> Seen:
        # By name: while a Service moves to another target port, its slices have different numbers.
        ports = {port.name or "": port for piece in group.slices for port in piece.ports or ()}
        known = tuple(ports.values()) or self._ports.get(name, ())
        if service is None:
            labels: dict[str, str] = {}
            for piece in group.slices:  # Services' labels are mirrored to their slices, annotations are not
                labels |= piece.metadata.labels or {}
            return Seen(name, {key: labels[key] for key in labels.keys() - _RESERVED}, {}, known)
        own = (service.spec.ports if service.spec is not None else None) or ()
        meta = service.metadata
        return Seen(name, meta.labels or {}, meta.annotations or {}, known, own)

    def _services(self, namespace: str, seen: Seen, group: _Group) -> Iterable[_Candidate]:
        origin = f"Service {namespace}/{seen.name}"
        reading = markers.read(seen, asked=group.take is Take.ASKED, gateways=group.gateways)
        self._pass_on(origin, reading)
        for marked in reading.servers:
            found = self._found(namespace, seen, group, marked, origin)
            yield _Candidate(marked.rank, f"{origin} {marked.port.name or ''}", markers.dns_label(seen.name), found)

    def _found(self, namespace: str, seen: Seen, group: _Group, marked: Marked, origin: str) -> Found:
        there = slices.instances(group.slices, marked.port.name or "", self._zone)
        number = markers.service_port(seen, marked.port)
        return Found(
            name=marked.name,
            transport=marked.transport,
            secure=False,
            path=marked.path,
            authority=f"{seen.name}.{namespace}.svc" + (f":{number}" if number else ""),
            ready=there.ready,
            leaving=there.leaving,
            origin=origin,
        )

    def _server(
        self, namespace: str, server: Server, seen: Mapping[str, Seen], groups: Mapping[str, _Group]
    ) -> Iterable[_Candidate]:
        name = server.metadata.name
        origin = f"MCPServer {namespace}/{name}"
        reading = Reading()
        place = resources.read(server, namespace, reading)
        self._pass_on(origin, reading)
        if place is None:
            return
        there = slices.Instances((Address(place.host, place.port),))
        if (service := seen.get(place.service)) and (port := markers.port_behind(service, place.port)):
            there = slices.instances(groups[place.service].slices, port.name or "", self._zone)
        found = Found(
            name=markers.dns_label(name),
            transport=place.transport,
            secure=place.secure,
            path=place.path,
            authority=place.authority,
            ready=there.ready,
            leaving=there.leaving,
            origin=origin,
        )
        yield _Candidate(markers.RESOURCE_RANK, origin, markers.dns_label(name), found)

    def _pass_on(self, origin: str, reading: Reading) -> None:
        for complaint in reading.complaints:
            self._complain(origin, complaint)

    def _once_each(self, candidates: Iterable[_Candidate]) -> list[_Candidate]:
        """Leave out who shares an instance and a path with a more explicit one.

        Who has no instance just now stays merged with whom it was merged before: it has not become another server.
        """
        kept: dict[str, _Candidate] = {}
        owners: dict[tuple[Address, str], str] = {}
        merged: dict[str, str] = {}
        for one in candidates:
            places = [(address, one.found.path) for address in (*one.found.ready, *one.found.leaving)]
            twin = next((owners[place] for place in places if place in owners), None)
            before = self._merged.get(one.key)
            if twin is None and before in kept and (not places or not _has_instances(kept[before])):
                twin = before
            if twin is None:
                kept[one.key] = one
                owners.update(dict.fromkeys(places, one.key))
            else:
                merged[one.key] = twin
        self._merged = merged
        return list(kept.values())

    def _named(self, candidates: Iterable[_Candidate]) -> tuple[Found, ...]:
        """Give everybody a name of its own; the more explicit one keeps a name that two would have."""
        named: dict[str, Found] = {}
        for one in candidates:
            name = _free_name(one, named)
            if name != one.found.name:
                owner = named[one.found.name].origin if one.found.name in named else "nobody"
                problem = f"{one.found.name!r} is the name of {owner}; taken as {name!r}"
                self._complain(one.found.origin, Complaint("name", problem))
            named[name] = one.found if name == one.found.name else replace(one.found, name=name)
        return tuple(named[name] for name in sorted(named))


def _grouped(sliced: Iterable[Sliced]) -> dict[str, _Group]:
    """All slices by Service. One that several watches have found is as the newest of them says."""
    pieces: dict[str, Slice] = {}
    takes: dict[str, tuple[Take, bool]] = {}
    for source in sliced:
        for name, piece in source.known.items():
            service = slices.service_of(piece)
            take, gateways = takes.get(service, (Take.NEVER, False))
            takes[service] = (max(take, source.take), gateways or source.gateways)
            if name not in pieces or slices.age(pieces[name]) < slices.age(piece):
                pieces[name] = piece
    grouped = slices.by_service(pieces.values())
    return {name: _Group(grouped[name], *takes[name]) for name in sorted(grouped)}


def _has_instances(one: _Candidate) -> bool:
    return bool(one.found.ready or one.found.leaving)


def _free_name(one: _Candidate, taken: Mapping[str, Found]) -> str:
    for name in (one.found.name, one.fallback):
        if name and name not in taken:
            return name
    number = 2
    while (name := f"{one.fallback[:58]}-{number}") in taken:
        number += 1
    return name

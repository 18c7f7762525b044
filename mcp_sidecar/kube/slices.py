"""Which instances of a Service take sessions, from its EndpointSlices; knows no marker and no watch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mcp_sidecar.discovery.source import Address
from mcp_sidecar.kube.objects import Conditions, Instance, Slice

SERVICE_NAME = "kubernetes.io/service-name"
_PREFERENCE = {"IPv6": 0, "IPv4": 1}  # FQDN slices are deprecated, and nobody writes them
_UNSAID = Conditions()
_Found = Mapping[Address, Instance]


@dataclass(frozen=True, slots=True)
class Instances:
    """Addresses for new sessions, and those that still serve the sessions they have."""

    ready: tuple[Address, ...] = ()
    leaving: tuple[Address, ...] = ()


def service_of(piece: Slice) -> str:
    """The name of the Service that a slice belongs to; empty when it does not say."""
    return (piece.metadata.labels or {}).get(SERVICE_NAME, "")


def by_service(slices: Iterable[Slice]) -> dict[str, list[Slice]]:
    """The slices of each Service, the newest last, whatever order they come in."""
    found: dict[str, list[Slice]] = {}
    for piece in sorted(slices, key=age):
        if name := service_of(piece):
            found.setdefault(name, []).append(piece)
    return found


def instances(slices: Iterable[Slice], port: str, zone: str) -> Instances:
    """The instances of one Service behind the port of that name; slices come oldest first."""
    found = _by_address(slices, port)
    ready = {address: one for address, one in found.items() if _is_ready(one)}
    leaving = [address for address, one in found.items() if address not in ready and _is_leaving(one)]
    if not ready:
        # As kube-proxy does (KEP-1669): one that goes is better than none.
        return Instances(_in_order(leaving))
    near = _near(ready, zone)
    far = [address for address in ready if address not in near]
    return Instances(_in_order(near), _in_order([*leaving, *far]))


def _by_address(slices: Iterable[Slice], name: str) -> _Found:
    """Each pod once, with the address of the family that every pod can reach; what a newer slice says wins."""
    found: dict[Address, tuple[int, Instance]] = {}
    for piece in slices:
        preference = _PREFERENCE.get(piece.address_type)
        port = next((port.port for port in piece.ports or () if (port.name or "") == name), None)
        if preference is None or port is None:
            continue
        for one in piece.endpoints or ():
            if one.addresses:
                address = Address(one.addresses[0], port)
                found.pop(address, None)  # so that it moves to the end: order is age
                found[address] = (preference, one)
    pods: dict[str | Address, tuple[int, Address, Instance]] = {}
    for address, (preference, one) in found.items():
        pod = one.target_ref.uid if one.target_ref is not None and one.target_ref.uid else address
        if pod not in pods or preference >= pods[pod][0]:
            pods[pod] = (preference, address, one)
    return {address: one for _, address, one in pods.values()}


def _is_ready(one: Instance) -> bool:
    return one.conditions is None or one.conditions.ready is not False  # not said is ready


def _is_leaving(one: Instance) -> bool:
    conditions = one.conditions or _UNSAID
    return conditions.serving is True and conditions.terminating is True


def _near(ready: _Found, zone: str) -> list[Address]:
    """Those meant for our zone; all, unless every one of them is meant for some zone and one for ours."""
    if not zone:
        return list(ready)
    near = []
    for address, one in ready.items():
        zones = one.hints.for_zones if one.hints is not None else None
        if not zones:
            return list(ready)
        if any(meant.name == zone for meant in zones):
            near.append(address)
    return near or list(ready)


def _in_order(addresses: Iterable[Address]) -> tuple[Address, ...]:
    return tuple(sorted(addresses, key=lambda address: (address.host, address.port)))


def age(piece: Slice) -> tuple[int, str]:
    """What grows from one state of a slice to the next, and tells slices apart."""
    version = piece.metadata.resource_version
    return (int(version) if version.isdecimal() else 0, piece.metadata.name)

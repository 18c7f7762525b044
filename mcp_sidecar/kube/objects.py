"""The parts of Kubernetes objects that discovery reads, as the API spells them; knows no rule about them.

Whatever the API may leave out or write as null may be absent here. Fields that are not named are skipped unread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec


class Part(msgspec.Struct, frozen=True, rename="camel"):
    """A part of an object. Strict about types: an object that breaks them is left out as a whole."""


class Metadata(Part, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None


class Stated(Part, frozen=True, rename="camel"):
    """Any object."""

    metadata: Metadata = Metadata()


class Port(Part, frozen=True, rename="camel"):
    name: str | None = None
    port: int | None = None
    protocol: str | None = None
    app_protocol: str | None = None


class Conditions(Part, frozen=True, rename="camel"):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForZone(Part, frozen=True, rename="camel"):
    name: str = ""


class Hints(Part, frozen=True, rename="camel"):
    for_zones: tuple[ForZone, ...] | None = None


class TargetRef(Part, frozen=True, rename="camel"):
    kind: str = ""
    name: str = ""
    uid: str = ""


class Instance(Part, frozen=True, rename="camel"):
    """An endpoint of a slice."""

    addresses: tuple[str, ...] | None = None
    conditions: Conditions | None = None
    hints: Hints | None = None
    target_ref: TargetRef | None = None


class Slice(Stated, frozen=True, rename="camel"):
    """`discovery.k8s.io/v1` EndpointSlice."""

    address_type: str = ""
    ports: tuple[Port, ...] | None = None
    endpoints: tuple[Instance, ...] | None = None


class ServiceSpec(Part, frozen=True, rename="camel"):
    ports: tuple[Port, ...] | None = None


class Service(Stated, frozen=True, rename="camel"):
    """`v1` Service."""

    spec: ServiceSpec | None = None


class Condition(Part, frozen=True, rename="camel"):
    type: str = ""
    status: str = ""


class Address(Part, frozen=True, rename="camel"):
    url: str = ""


class ServerStatus(Part, frozen=True, rename="camel"):
    address: Address | None = None
    conditions: tuple[Condition, ...] | None = None


class Server(Stated, frozen=True, rename="camel"):
    """MCPServer of `mcp.x-k8s.io`. Other API groups have a kind of the same name."""

    api_version: str = ""
    kind: str = ""
    status: ServerStatus | None = None


T = TypeVar("T", bound=Stated)
Read = Callable[[bytes | msgspec.Raw], T]
"""An object from its JSON; raises `msgspec.DecodeError`."""

read_slice: Read[Slice] = msgspec.json.Decoder(Slice).decode
read_service: Read[Service] = msgspec.json.Decoder(Service).decode
read_server: Read[Server] = msgspec.json.Decoder(Server).decode

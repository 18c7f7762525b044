"""The servers of a namespace, as a source: runs the watches, joins what they know, publishes. Knows no rule itself."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from mcp_sidecar.discovery.pulse import Pulse
from mcp_sidecar.discovery.source import Found, Publish
from mcp_sidecar.kube.access import Access
from mcp_sidecar.kube.joining import Joining, Sliced, Take
from mcp_sidecar.kube.markers import Complaint
from mcp_sidecar.kube.objects import Read, Slice, T, read_server, read_service, read_slice
from mcp_sidecar.kube.pace import Time
from mcp_sidecar.kube.replica import Replica
from mcp_sidecar.kube.watch import Collection, Watch
from mcp_sidecar.logs import Log
from mcp_sidecar.settings import DiscoverySettings

_SLICES: Final = ("endpointslices", ("/apis/discovery.k8s.io/v1",))
_SERVICES: Final = ("services", ("/api/v1",))
_SERVERS: Final = ("mcpservers", ("/apis/mcp.x-k8s.io/v1beta1", "/apis/mcp.x-k8s.io/v1alpha1"))
_EVERY: Final = "*"
_OF_SERVERS: Final = "app=mcp-server,mcp-server"
"""The Services that mcp-lifecycle-operator makes for MCPServer objects."""
_TOGETHER_SECONDS: Final = 0.1
"""Changes come in bursts (a Pod moves from slice to slice), and what a publication costs does not depend on them."""


class KubeSource:
    """A `discovery.source.Source`: the MCP servers of one namespace, watched through the Kubernetes API."""

    def __init__(
        self, settings: DiscoverySettings, log: Log, *, access: Access | None = None, time: Time | None = None
    ) -> None:
        self._log = log
        self._time = time or Time()
        self._access = access or Access(settings.kubeconfig, settings.namespace)
        self._changed = asyncio.Event()
        self.pulse = Pulse(self._time.now)
        self._joining = Joining(settings.zone, self._complain)
        self._complaints: set[tuple[str, Complaint]] = set()
        self._complained: set[tuple[str, Complaint]] = set()
        self._slices = self._slice_watches(settings)
        for _, watch in self._slices:  # what else is watched may not be there, for good
            self.pulse.expect(str(watch.collection))
        # Least privilege: what nobody asked for is not even tried.
        self._services = self._watch(_SERVICES, read_service) if settings.annotations else None
        self._servers = self._watch(_SERVERS, read_server) if settings.resources else None

    async def run(self, publish: Publish) -> None:
        """Publish the servers whenever they change, until cancelled. Raises nothing."""
        self._changed.set()  # whoever runs it again hears what is known
        async with asyncio.TaskGroup() as tasks:
            for watch in self._watches():
                tasks.create_task(watch.run(), name=f"watch of {watch.collection}")
            await self._publish_changes(publish)

    async def _publish_changes(self, publish: Publish) -> None:
        published: tuple[Found, ...] | None = None
        while True:
            await self._changed.wait()
            if published is not None:
                await self._time.sleep(_TOGETHER_SECONDS)
            self._changed.clear()
            if not self._is_known():
                continue
            found = self._join()
            if found != published:
                published = found
                publish(found)

    def _is_known(self) -> bool:
        """Whether there is a set to publish: every watch has had its chance, and Services are known at all."""
        heard = all(watch.replica.synced or watch.tried for watch in self._watches())
        return heard and any(watch.replica.synced for _, watch in self._slices)

    def _join(self) -> tuple[Found, ...]:
        self._complaints = set()
        sliced = [Sliced(take, _names_gateways(watch.collection), watch.replica.known) for take, watch in self._slices]
        services = self._services.replica.known if self._services else {}
        servers = self._servers.replica.known if self._servers else {}
        found = self._joining.join(self._access.namespace, sliced, services, servers.values())
        self._warn()
        return found

    def _warn(self) -> None:
        """Once for each complaint, as long as there is reason for it."""
        for origin, complaint in sorted(self._complaints - self._complained, key=str):
            self._log.warning("discovery", object=origin, key=complaint.key, problem=complaint.problem)
        self._complained = self._complaints

    def _complain(self, origin: str, complaint: Complaint) -> None:
        self._complaints.add((origin, complaint))

    def _watches(self) -> list[Watch[Any]]:
        watches = [*(watch for _, watch in self._slices), self._services, self._servers]
        return [watch for watch in watches if watch is not None]

    def _slice_watches(self, settings: DiscoverySettings) -> list[tuple[Take, Watch[Slice]]]:
        found = [(Take.MARKED if one == _EVERY else Take.ASKED, one) for one in dict.fromkeys(settings.selectors)]
        if settings.resources:
            found.append((Take.NEVER, _OF_SERVERS))
        return [(take, self._watch(_SLICES, read_slice, "" if one == _EVERY else one)) for take, one in found]

    def _watch(self, kind: tuple[str, tuple[str, ...]], read: Read[T], selector: str = "") -> Watch[T]:
        collection = Collection(*kind, selector)
        replica = Replica(read, lambda name, why: self._skip(collection, name, why))
        return Watch(collection, replica, self._access, self._changed.set, self._log, self._time, self.pulse)

    def _skip(self, collection: Collection, name: str, why: str) -> None:
        self._log.warning("discovery", watch=str(collection), object=name[:253], problem=f"left out: {why}")


def _names_gateways(collection: Collection) -> bool:
    """Whether somebody selected gateways by their own label, and so wants them."""
    return "virtualmcpserver" in collection.selector

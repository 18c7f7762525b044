"""Who sends all this: the resource of every span, metric and log record. Knows no signal."""

from __future__ import annotations

import os

from opentelemetry.sdk.resources import Resource

from mcp_sidecar import __version__
from mcp_sidecar.settings import TelemetrySettings
from mcp_sidecar.spans import new_span_id


def resource(settings: TelemetrySettings) -> Resource:
    """What the settings say, under what nobody has to say.

    Not `Resource.create`, which reads the environment: that was done, and reported, with the configuration.
    """
    own = {
        "service.name": TelemetrySettings().service,
        "service.version": __version__,
        "service.instance.id": settings.resource.get("k8s.pod.uid") or f"{os.getpid()}-{new_span_id()}",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "mcp-sidecar",
        "telemetry.sdk.version": __version__,
    }
    found = own | dict(settings.resource)
    if settings.service != TelemetrySettings().service:
        found["service.name"] = settings.service  # a name of its own comes before that among the attributes
    return Resource(found)

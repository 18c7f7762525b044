"""What can be set, with its sentence, unit, default and range; knows neither files nor what a setting does.

Every duration is seconds as `float` and every size bytes as `int`, whatever unit was written. The parser, the reference
page and the JSON Schema all read the `Doc` of each field, so a setting is described here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from mcp_sidecar.settings.listening import (
    AdminSettings,
    AuthSettings,
    GrpcSettings,
    HttpSettings,
    KeepaliveSettings,
    ListenSettings,
    ListenTlsSettings,
)
from mcp_sidecar.settings.running import (
    AdmissionSettings,
    DrainSettings,
    HoldSettings,
    LogSettings,
    MonitorSettings,
    PoolSettings,
    RetrySettings,
    StartSettings,
)
from mcp_sidecar.settings.telemetry import SIGNALS, QueuedSettings, SignalSettings, TelemetrySettings
from mcp_sidecar.settings.upstreams import (
    DiscoverySettings,
    MergeSettings,
    TimeoutSettings,
    ToolSettings,
    UpstreamAuthSettings,
    UpstreamSettings,
    UpstreamTlsSettings,
)

__all__ = [
    "SIGNALS",
    "AdminSettings",
    "AdmissionSettings",
    "AuthSettings",
    "DiscoverySettings",
    "DrainSettings",
    "GrpcSettings",
    "HoldSettings",
    "HttpSettings",
    "KeepaliveSettings",
    "ListenSettings",
    "ListenTlsSettings",
    "LogSettings",
    "MergeSettings",
    "MonitorSettings",
    "PoolSettings",
    "QueuedSettings",
    "RetrySettings",
    "Settings",
    "SignalSettings",
    "StartSettings",
    "TelemetrySettings",
    "TimeoutSettings",
    "ToolSettings",
    "UpstreamAuthSettings",
    "UpstreamSettings",
    "UpstreamTlsSettings",
]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything; each part is handed its own section."""

    listen: ListenSettings = ListenSettings()
    grpc: GrpcSettings = GrpcSettings()
    http: HttpSettings = HttpSettings()
    upstreams: tuple[UpstreamSettings, ...] = ()
    merge: MergeSettings = MergeSettings()
    discovery: DiscoverySettings = DiscoverySettings()
    pool: PoolSettings = PoolSettings()
    monitor: MonitorSettings = MonitorSettings()
    admission: AdmissionSettings = AdmissionSettings()
    retry: RetrySettings = RetrySettings()
    hold: HoldSettings = HoldSettings()
    start: StartSettings = StartSettings()
    drain: DrainSettings = DrainSettings()
    auth: AuthSettings = AuthSettings()
    admin: AdminSettings = AdminSettings()
    telemetry: TelemetrySettings = TelemetrySettings()  # frozen
    log: LogSettings = LogSettings()

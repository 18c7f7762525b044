"""What the keys of telemetry demand of each other, and what of them deserves a warning; judges finished settings."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from importlib.util import find_spec

from mcp_sidecar.settings import SIGNALS, QueuedSettings, SignalSettings, TelemetrySettings

_PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.common")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?|")
_OURS = frozenset(("content-type", "content-length", "content-encoding", "host", "te", "user-agent", "connection"))


def faults(telemetry: TelemetrySettings, written: Container[str]) -> Iterator[tuple[str, str]]:
    """Yield what does not go together, as the path of the key to mend and a sentence."""
    yield from _header_faults("telemetry.headers", telemetry.headers)
    yield from _file_faults(telemetry)
    for signal in SIGNALS:
        own: SignalSettings = getattr(telemetry, f"{signal}_to")
        yield from _header_faults(f"telemetry.{signal}_to.headers", own.headers)
        batch = f"telemetry.{signal}_to.batch"
        if isinstance(own, QueuedSettings) and own.batch > own.queue and batch in written:
            yield batch, f"{own.batch} do not fit a queue of {own.queue}"
    # Only looked for where it is wanted: looking is half of importing.
    if telemetry.endpoints and not _installed(_PACKAGES):
        yield "telemetry.otlp_endpoint", "needs more packages: pip install 'mcp-sidecar[otel]'"


def _header_faults(path: str, headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Values may be secrets: no sentence repeats them."""
    if not all(_NAME.fullmatch(name) and name.lower() not in _OURS for name in headers):
        yield path, "a name is letters, digits, _, . and -, and none that the exporter sets itself"
    elif not all(_VALUE.fullmatch(value) for value in headers.values()):
        yield path, "a value is visible ASCII, with spaces between only; write other bytes in base64"


def _file_faults(telemetry: TelemetrySettings) -> Iterator[tuple[str, str]]:
    """Yield what keeps certificates and keys from being used; each set of files is judged once."""
    judged = set()
    for signal in SIGNALS:
        way, own = telemetry.of(signal), getattr(telemetry, f"{signal}_to")
        files = (way.client_certificate, way.client_key, way.certificate)
        if files in judged:
            continue
        judged.add(files)
        where = f"telemetry.{signal}_to" if any(getattr(own, key) for key in _FILES) else "telemetry"
        if bool(way.client_certificate) != bool(way.client_key):
            yield f"{where}.client_certificate", "client_certificate and client_key go together"
        elif any(files):
            yield from _tls_faults(where, *files)


_FILES = ("client_certificate", "client_key", "certificate")


def _tls_faults(where: str, certificate: str, key: str, authorities: str) -> Iterator[tuple[str, str]]:
    # Imported where needed: few configurations have TLS, and `check` shall start fast.
    from mcp_sidecar.wire import tls

    files = tls.watch(certificate, key, authorities, tls.client_material, lambda _: None)
    if files.trouble:
        yield f"{where}.{'client_certificate' if certificate else 'certificate'}", f"{files.name}: {files.trouble}"


def _installed(packages: Iterable[str]) -> bool:
    try:
        return all(find_spec(package) is not None for package in packages)
    except ModuleNotFoundError:
        return False


def warnings(telemetry: TelemetrySettings) -> Iterator[str]:
    """Yield what works but is probably not meant."""
    for signal, endpoint in telemetry.endpoints.items():
        way = telemetry.of(signal)
        if endpoint.lower().startswith("http://") and any(getattr(way, key) for key in _FILES):
            yield f"certificates for {signal} have no effect: {endpoint} is plaintext"

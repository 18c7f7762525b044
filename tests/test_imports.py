"""What a serving process has in memory: guards its size and its start; knows no behaviour."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FORBIDDEN = {
    "aiohttp": "23 MB",
    "anyio": "comes with the SDK",
    "httpx": "10 MB and 65 ms",
    "kubernetes": "44 MB; discovery imports it when it is switched on",
    "mcp": "42 MB; the SDK drops unknown fields",
    "opentelemetry": "13 MB; telemetry imports it when it is switched on",
    "pydantic": "comes with the SDK",
    "requests": "comes with kubernetes",
    "unittest": "for tests",
}
"""What no serving process may import unasked, and why."""

ON_DEMAND = {
    "argparse": "the command line has been read when the app starts",
    "cryptography": "auth.mode is jwt",
    "grpc_reflection.v1alpha": "grpc.reflection is true; grpc itself looks whether the package above is there",
    "jwt": "auth.mode is jwt",
    "yaml": "a configuration file is given",
    "mcp_sidecar.config.declarative": "OTEL_CONFIG_FILE is set",
    "mcp_sidecar.kube": "discovery.mode is namespace",
}
"""What is imported when it is needed, and when that is."""


def _loaded_by(statement: str) -> set[str]:
    """The modules in memory after `statement` in a fresh interpreter."""
    report = "import json, sys; print(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", f"{statement}\n{report}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 0, ran.stderr
    names: list[str] = json.loads(ran.stdout)
    return set(names)


@pytest.mark.parametrize("module", ["mcp_sidecar.app", "mcp_sidecar.config, mcp_sidecar.app"])
def test_importing_the_app_loads_nothing_it_can_do_without(module: str) -> None:
    loaded = _loaded_by(f"import {module}")
    needless = {name: reason for name, reason in (FORBIDDEN | ON_DEMAND).items() if name in loaded}
    assert not needless


def test_a_declared_sdk_that_is_disabled_is_not_loaded(tmp_path: Path) -> None:
    file = tmp_path / "otel.yaml"
    exporter = "{processors: [{batch: {exporter: {otlp_grpc: }}}]}"
    file.write_text(f'file_format: "1.0"\ndisabled: true\ntracer_provider: {exporter}\n')
    loaded = _loaded_by(
        f"import mcp_sidecar.app, mcp_sidecar.config as c; c.load(None, {{'OTEL_CONFIG_FILE': {str(file)!r}}})"
    )
    assert "mcp_sidecar.config.declarative" in loaded
    assert not loaded & {"opentelemetry", "opentelemetry.sdk", "mcp_sidecar.telemetry.export"}


def test_the_client_loads_the_generated_code_and_nothing_of_the_server() -> None:
    report = "print(*[name for name in sys.modules if name.startswith('mcp_sidecar.')])"
    command = [sys.executable, "-c", f"import sys, mcp_sidecar.client; {report}"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    foreign = {name for name in ran.stdout.split() if name.split(".")[1] not in {"client", "v1", "errors", "statuses"}}
    assert not foreign


def test_the_package_itself_costs_nothing() -> None:
    bare = _loaded_by("pass")
    assert _loaded_by("import mcp_sidecar") - bare == {"mcp_sidecar"}


def test_the_drain_command_uses_the_standard_library_only() -> None:
    loaded = _loaded_by("import mcp_sidecar.cli.drain")
    heavy = {"grpc", "google", "yaml", "uvloop", "msgspec", "httptools", "jwt"} & loaded
    assert not heavy

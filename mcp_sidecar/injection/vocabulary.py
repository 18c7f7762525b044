"""The labels and annotations that users write, each with its sentence; knows not what is done with them.

Selectors of the API server see labels only: what switches injection on or off is a label, what tunes it an annotation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

DOMAIN: Final = "mcp-sidecar.dev"
CONTAINER: Final = "mcp-sidecar"
AUDIENCE: Final = DOMAIN
"""What the projected token of the pod is for, and what an inbound sidecar asks of its callers."""

NAMESPACE_LABEL: Final = f"{DOMAIN}/injection"
"""On a namespace: `enabled` or `disabled`."""
POD_LABEL: Final = f"{DOMAIN}/inject"
"""On a pod: `"true"` or `"false"`."""
INJECTED_BY: Final = f"{DOMAIN}/injected-by"
VERSION: Final = f"{DOMAIN}/version"

SYSTEM_NAMESPACES: Final = ("kube-system", "kube-public", "kube-node-lease")
"""Where nothing is ever injected: a sidecar that fails there could keep the cluster from repairing itself."""

_QUANTITY: Final = r"[0-9]{1,12}(\.[0-9]{1,3})?(m|k|M|G|Ki|Mi|Gi)?"
_PORT: Final = r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation of a pod."""

    name: str
    text: str
    form: str
    """A regular expression that the whole value has to match."""
    example: str

    @property
    def key(self) -> str:
        return f"{DOMAIN}/{self.name}"

    def accepts(self, value: str) -> bool:
        return re.fullmatch(self.form, value) is not None


ANNOTATIONS: Final = {
    annotation.name: annotation
    for annotation in (
        Annotation(
            "upstreams",
            "MCP servers to reach, as `name=url,name=url`; takes the place of the list in the configuration file.",
            r"[^=,]+=[^,]+(,[^=,]+=[^,]+)*",
            "weather=http://weather.tools:8080/mcp",
        ),
        Annotation(
            "app-port",
            "The pod is an MCP server on this port, and the sidecar stands in front of it (role *inbound*).",
            _PORT,
            "8000",
        ),
        Annotation(
            "config",
            "ConfigMap of the pod's namespace whose key `config.yaml` is the sidecar's configuration file.",
            r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?",
            "agent-mcp",
        ),
        Annotation("log-level", "`debug`, `info`, `warning` or `error`.", r"debug|info|warning|error", "debug"),
        Annotation(
            "discovery",
            "Where servers are looked for: `off`, `dns`, `namespace` or `hub`.",
            r"off|dns|namespace|hub",
            "namespace",
        ),
        Annotation(
            "drain-seconds", "How long running calls may take to finish when the pod goes.", r"[0-9]{1,4}", "20"
        ),
        Annotation("cpu-request", "CPU the sidecar asks for.", _QUANTITY, "50m"),
        Annotation("memory-limit", "Memory the sidecar asks for and may use.", _QUANTITY, "256Mi"),
    )
}

"""Environment variables and flags to trees like the file's; knows which of them exist, not what their values may be."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mcp_sidecar.config.problems import Place, nearest
from mcp_sidecar.config.reading import Reading
from mcp_sidecar.config.schema import PREFIX, variables
from mcp_sidecar.config.tree import Node, put

UPSTREAMS = PREFIX + "UPSTREAMS"
CONFIG = PREFIX + "CONFIG"
POD_GRACE = PREFIX + "POD_GRACE_SECONDS"
ZONE = PREFIX + "ZONE"
OTHER_VARIABLES: Mapping[str, str] = {
    UPSTREAMS: "Upstreams as `name=url,name=url`; takes the place of the file's list.",
    CONFIG: "The configuration file, when `-c` is not given.",
    POD_GRACE: "The pod's termination grace period in seconds, a number; draining is cut to fit it.",
    ZONE: "The same as `MCP_SIDECAR_DISCOVERY_ZONE`, which wins.",
    PREFIX + "ADDRESS": "Where `tools`, `call` and `status` find the sidecar's gRPC API.",
    PREFIX + "HTTP_ADDRESS": "Where `drain` finds the sidecar's HTTP listener.",
}
STANDARD: Mapping[str, str] = {
    "OTEL_…": "OpenTelemetry's own, such as `OTEL_EXPORTER_OTLP_ENDPOINT`, below the file; each is listed below.",
    "POD_NAME`, `POD_UID`, `NAMESPACE`, `NODE_NAME`, `CONTAINER_NAME": "This pod, in the resource of all telemetry.",
}
"""What others set too."""
TEST_PREFIX = PREFIX + "TEST_"
FLAGS: Mapping[str, tuple[str, ...]] = {
    "grpc": ("listen", "grpc"),
    "http": ("listen", "http"),
    "health": ("listen", "health"),
    "metrics": ("listen", "metrics"),
    "log_level": ("log", "level"),
    "log_format": ("log", "format"),
}
# Kubernetes describes every Service of the namespace in the environment (service links). One that is called
# mcp-sidecar or mcp-sidecar-injector would otherwise stop every sidecar near it from starting.
_SERVICE_LINK = re.compile(
    PREFIX
    + r"([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
_NOWHERE = Place("")
_STDIO = "stdio:"


def environment_layer(environ: Mapping[str, str], reading: Reading) -> Node:
    """Return what the variables say; unknown ones are reported. An empty variable counts as not set."""
    root = Node("map", _NOWHERE)
    known = dict(variables())
    for name in sorted(name for name in environ if name.startswith(PREFIX) and environ[name]):
        place = Place(f"environment {name}")
        if name in known:
            put(root, known[name], Node("any", place, environ[name]))
        elif name == UPSTREAMS:
            pairs = [part.strip() for part in environ[name].split(",") if part.strip()]
            put(root, ("upstreams",), _upstreams(pairs, place, reading))
        elif not _is_ours_elsewhere(name):
            _report_unknown(name, known, place, reading)
    return root


def flag_layer(flags: Mapping[str, str | Sequence[str] | None], reading: Reading) -> Node:
    """Return what the flags say; keys are those of FLAGS and `upstream`, None means not given."""
    root = Node("map", _NOWHERE)
    for name, path in FLAGS.items():
        if (given := flags.get(name)) is not None:
            place = Place(f"flag --{name.replace('_', '-')}")
            put(root, path, Node("any", place, given if isinstance(given, str) else ",".join(given)))
    if upstreams := flags.get("upstream"):
        pairs = [upstreams] if isinstance(upstreams, str) else upstreams
        put(root, ("upstreams",), _upstreams(pairs, Place("flag --upstream"), reading))
    return root


def _is_ours_elsewhere(name: str) -> bool:
    return name in OTHER_VARIABLES or name.startswith(TEST_PREFIX) or _SERVICE_LINK.fullmatch(name) is not None


def _report_unknown(name: str, known: Iterable[str], place: Place, reading: Reading) -> None:
    meant = nearest(name, [*known, *OTHER_VARIABLES])
    reading.report("", f"unknown variable; {f'did you mean {meant}?' if meant else 'see docs/configuration.md'}", place)


def _upstreams(pairs: Iterable[str], place: Place, reading: Reading) -> Node:
    return Node("list", place, items=list(_upstream_items(pairs, place, reading)))


def _upstream_items(pairs: Iterable[str], place: Place, reading: Reading) -> Iterator[Node]:
    for pair in pairs:
        name, equals, url = pair.partition("=")
        if not equals:
            reading.report("upstreams", "expected NAME=URL, as in weather=http://127.0.0.1:8080/mcp", place)
            continue
        try:
            key, value = _way(url.strip(), place)
        except ValueError as error:
            reading.report("upstreams", f"the command cannot be split into words: {error}", place)
            continue
        item = Node("map", place)
        put(item, ("name",), Node("any", place, name.strip()))
        put(item, (key,), value)
        yield item


def _way(url: str, place: Place) -> tuple[str, Node]:
    """Return the key for a URL or a command, and its value. A command is split as a shell does, and run by none."""
    if not url.startswith(_STDIO):
        return "url", Node("any", place, url)
    words = shlex.split(url.removeprefix(_STDIO))
    return "command", Node("list", place, items=[Node("text", place, word) for word in words])

"""Which MCP revisions there are and what sets their eras apart, as tables; knows no wire.

Source: MCP specification, basic/versioning ("modern" and "legacy" are its words) and the schema of each revision.
"""

from __future__ import annotations

import enum


class Era(enum.Enum):
    """`MODERN` is stateless with metadata in every request, `LEGACY` begins with `initialize`."""

    MODERN = "modern"
    LEGACY = "legacy"


MODERN_VERSIONS = ("2026-07-28",)
LEGACY_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
LATEST_MODERN = MODERN_VERSIONS[0]
LATEST_LEGACY = LEGACY_VERSIONS[0]

META_PREFIX = "io.modelcontextprotocol/"
META_VERSION = META_PREFIX + "protocolVersion"
META_CAPABILITIES = META_PREFIX + "clientCapabilities"
META_CLIENT = META_PREFIX + "clientInfo"
META_SERVER = META_PREFIX + "serverInfo"
META_LOG_LEVEL = META_PREFIX + "logLevel"
META_SUBSCRIPTION = META_PREFIX + "subscriptionId"

DISCOVER = "server/discover"
LISTEN = "subscriptions/listen"
CALL_TOOL = "tools/call"
LIST_TOOLS = "tools/list"

# Results of these carry `ttlMs` and `cacheScope` (server/utilities/caching).
CACHEABLE = frozenset(
    (DISCOVER, LIST_TOOLS, "prompts/list", "resources/list", "resources/templates/list", "resources/read")
)
# Requests of a modern client that a legacy server knows by the same name.
SHARED_METHODS = frozenset(
    (
        LIST_TOOLS,
        CALL_TOOL,
        "prompts/list",
        "prompts/get",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "completion/complete",
    )
)
MODERN_METHODS = SHARED_METHODS | {DISCOVER, LISTEN}
# What only clients of the 2025 revisions send.
LEGACY_METHODS = frozenset(
    (
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/get",
        "tasks/result",
        "tasks/list",
        "tasks/cancel",
        "notifications/initialized",
        "notifications/cancelled",
        "notifications/progress",
        "notifications/roots/list_changed",
    )
)
# Safe to run twice: a lost answer may be asked for again (docs/architecture.md, "Execution certainty").
REPEATABLE = SHARED_METHODS - {CALL_TOOL} | {DISCOVER, "ping", "initialize", "tasks/get"}

# JSON-RPC error codes (MCP 2026-07-28, basic, "Error codes").
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
RESOURCE_NOT_FOUND = -32002  # legacy only
URL_ELICITATION_REQUIRED = -32042  # legacy only
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022

CODES = frozenset(
    (
        PARSE_ERROR,
        INVALID_REQUEST,
        METHOD_NOT_FOUND,
        INVALID_PARAMS,
        INTERNAL_ERROR,
        RESOURCE_NOT_FOUND,
        URL_ELICITATION_REQUIRED,
        HEADER_MISMATCH,
        MISSING_CAPABILITY,
        UNSUPPORTED_VERSION,
    )
)
# What is wrong then is the question, not the one who answers (MCP conventions of OpenTelemetry, server spans).
CALLERS_FAULT = frozenset((PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, RESOURCE_NOT_FOUND))
# Codes that only a modern server sends (basic/versioning, "Era detection").
MODERN_CODES = frozenset((HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION))


def era_of(version: str) -> Era | None:
    """The era of a revision, None for one that is not known."""
    if version in MODERN_VERSIONS:
        return Era.MODERN
    return Era.LEGACY if version in LEGACY_VERSIONS else None

"""What servers say by themselves of their lists and resources: which kept results it makes out of date. No wire."""

from __future__ import annotations

from collections.abc import Mapping

from mcp_sidecar.engine.inventory import Inventory
from mcp_sidecar.engine.shelf import Key, Shelf
from mcp_sidecar.protocol import jsonrpc

UPDATED = "notifications/resources/updated"
_READ = "resources/read"
_CHANGED: Mapping[str, frozenset[str]] = {
    "notifications/tools/list_changed": frozenset(("tools/list",)),
    "notifications/prompts/list_changed": frozenset(("prompts/list",)),
    "notifications/resources/list_changed": frozenset(("resources/list", "resources/templates/list")),
}
NEWS = frozenset((*_CHANGED, UPDATED))
"""The notifications that say so."""


def heed(shelf: Shelf, inventory: Inventory, server: str, method: str, message: bytes) -> None:
    """Forget what one of `NEWS` tells has changed."""
    if method == UPDATED:
        uri = jsonrpc.parse_request(message).text("uri") or ""
        shelf.forget(server, lambda key: _is_of(key, uri))
        return
    methods = _CHANGED[method]
    shelf.forget(server, lambda key: key.method in methods)
    inventory.forget(server, methods)


def _is_of(key: Key, uri: str) -> bool:
    """The result of reading this resource, or one that it is part of (server/resources, "Subscriptions")."""
    if key.method != _READ:
        return False
    return uri.startswith(jsonrpc.as_string(dict(key.params).get("uri")) or "")

"""What a `subscriptions/listen` of 2026-07-28 covers, and how it ends well; knows no wire."""

from __future__ import annotations

from mcp_sidecar.protocol import eras
from mcp_sidecar.protocol.jsonrpc import Response, encode_object


def graceful_end(request_id: bytes) -> Response:
    """The result that ends the subscription of this request (JSON text) from the server's side."""
    meta = encode_object({eras.META_SUBSCRIPTION: request_id})
    return Response(request_id, result=encode_object({"resultType": b'"complete"', "_meta": meta}))


def covers(subscribed: str, uri: str) -> bool:
    """An update of `uri` is news for who subscribed to `subscribed`: the same resource, or what is below it (schema,
    `ResourceUpdatedNotification`: it "might be a sub-resource").
    """
    if not uri.startswith(subscribed):
        return False
    return len(uri) == len(subscribed) or subscribed.endswith("/") or uri[len(subscribed)] in "/?#"

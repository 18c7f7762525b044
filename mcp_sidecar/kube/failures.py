"""What can go wrong on the way to the API server, in words for the log; knows no transport."""

from __future__ import annotations

_RBAC = (
    "grant the pod's service account the verbs list and watch on {resource} in namespace {namespace},"
    " with a Role and a RoleBinding"
)
_HINTS = {
    401: "the API server does not know the token: look whether the service account still exists",
    403: _RBAC,
    404: "the API server does not serve {resource}; install what defines it, or leave discovery.resources out",
}
_WORDS = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 410: "EXPIRED", 429: "THROTTLED"}
_TOO_LARGE = "Too large resource version"


class Failure(Exception):
    """An attempt to hear from the API server that came to nothing; the text is for the log."""

    reason = "UNREACHABLE"
    """One word for the metrics, from a small set."""
    retry_after = 0.0
    """Seconds that the server asked us to stay away."""

    def hint(self, resource: str, namespace: str) -> str:  # noqa: ARG002  # failures below know more
        """What to do about it; empty when waiting is all there is to do."""
        return ""


class Unreachable(Failure):
    """No answer, or an answer that ended too early."""


class Silence(Unreachable):
    """Nothing came for too long."""

    reason = "SILENCE"


class Garbled(Failure):
    """An answer that is no Kubernetes API."""

    reason = "GARBLED"


class NoAccess(Failure):
    """It is not known where the API server is, or how to prove ourselves."""

    reason = "NO_ACCESS"

    def hint(self, resource: str, namespace: str) -> str:  # noqa: ARG002
        return "run in a pod with a service account token, or name a file in discovery.kubeconfig"


class Refused(Failure):
    """The server said no, as HTTP status or in the middle of a watch."""

    def __init__(self, status: int, message: str, retry_after: float = 0.0) -> None:
        super().__init__(f"HTTP {status}: {message}" if message else f"HTTP {status}")
        self.status = status
        self.retry_after = retry_after
        self.reason = _WORDS.get(status, "REFUSED")
        self.outdated = status == 410 or _TOO_LARGE in message
        """What we wanted to go on from is no longer there, or not there yet (a server restored from a backup)."""

    def hint(self, resource: str, namespace: str) -> str:
        return _HINTS.get(self.status, "").format(resource=resource, namespace=namespace)

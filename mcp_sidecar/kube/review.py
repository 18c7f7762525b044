"""Asks the API server whose token one is (TokenReview); knows neither what is allowed nor who asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec

from mcp_sidecar.errors import Unavailable
from mcp_sidecar.kube.access import Access
from mcp_sidecar.kube.failures import Failure, NoAccess, Refused
from mcp_sidecar.watched import Report

_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_SECONDS: Final = 3.0
_LONGEST: Final = 256 * 1024
_RETRY_AFTER: Final = 1.0
_AT_ONCE: Final = 8
"""Strangers may make up tokens faster than an API server should have to look at them."""


class _Review(msgspec.Struct):
    status: dict[str, object]


class TokenReviews:
    """Reviews by the API server that `access` leads to. What keeps it from answering is told to `report`, once."""

    def __init__(self, access: Access, report: Report, *, seconds: float = _SECONDS) -> None:
        self._access = access
        self._report = report
        self._seconds = seconds
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._trouble = ""

    async def __call__(self, token: str, audience: str) -> Mapping[str, object]:
        """The `status` of the review. Raises `Unavailable` when there is none in time, and never repeats the token."""
        try:
            async with asyncio.timeout(self._seconds), self._places:
                status = await self._review(token, audience)
        except (Failure, TimeoutError) as error:
            self._complain(error)
            # Without the cause: nobody knows what an API server, or who poses as one, repeats in its words.
            raise Unavailable(
                "the sidecar cannot check tokens: the Kubernetes API does not review them at the moment",
                retry_after=_RETRY_AFTER,
            ) from None
        self._trouble = ""
        return status

    async def _review(self, token: str, audience: str) -> Mapping[str, object]:
        answer = await self._access.post(_PATH, _question(token, audience))
        try:
            return msgspec.json.decode(await answer.body(_LONGEST), type=_Review).status
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Failure("what answers is no Kubernetes API") from None
        finally:
            await answer.close()

    def _complain(self, error: Exception) -> None:
        trouble = _words(error, self._seconds)
        if trouble != self._trouble:
            self._trouble = trouble
            self._report(f"tokens cannot be reviewed: {trouble}; nobody new is let in")


def _question(token: str, audience: str) -> bytes:
    return msgspec.json.encode(
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
    )


def _words(error: Exception, seconds: float) -> str:
    """What to do about it, without a word of the server's."""
    if isinstance(error, TimeoutError):
        return f"the API server did not answer within {seconds:g} s"
    if isinstance(error, NoAccess):
        return f"{error}; run in a pod with a service account token"
    if isinstance(error, Refused):
        what = {
            401: "it does not know the sidecar's own token",
            403: "bind the ClusterRole system:auth-delegator to the sidecar's service account",
        }
        return f"the API server refused (HTTP {error.status})" + (
            f": {what[error.status]}" if error.status in what else ""
        )
    return "the API server cannot be reached" if type(error) is not Failure else str(error)

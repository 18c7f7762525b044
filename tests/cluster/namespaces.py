"""Namespaces for tests; knows Pod Security levels, and nothing of what runs there."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator

from tests.cluster.kubectl import Cluster, Namespace

_LONGEST_NAME = 40


@contextlib.contextmanager
def made(cluster: Cluster, purpose: str, level: str = "restricted") -> Iterator[Namespace]:
    """A namespace with its default ServiceAccount, without which no pod is admitted."""
    words = re.sub("[^a-z0-9]+", "-", purpose.removeprefix("test_").lower())[:_LONGEST_NAME]
    name = f"{words.strip('-')}-{secrets.token_hex(2)}"
    labels = {"pod-security.kubernetes.io/enforce": level}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    namespace = Namespace(cluster, name)
    try:
        namespace.until("the default ServiceAccount", lambda: namespace.get("serviceaccounts", "default"))
        yield namespace
    finally:
        cluster.kubectl("delete", "namespace", name, "--wait=false")

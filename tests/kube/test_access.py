"""The way to the API server: as pods go it, and as a kubeconfig says."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from mcp_sidecar.kube.access import Access
from mcp_sidecar.kube.failures import Failure, Garbled, NoAccess, Refused, Unreachable
from tests.outbound.test_tls import self_signed
from tests.support.kube_api import KubeApi, Refusal, kube_api

SLICES = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"


def service_account(folder: Path, token: str, certificate: Path, namespace: str = "agents") -> None:
    """The files that a kubelet mounts."""
    text = certificate.read_text()
    (folder / "ca.crt").write_text(text[text.index("-----BEGIN CERT") :])
    (folder / "token").write_text(f"{token}\n")
    (folder / "namespace").write_text(namespace)


def in_cluster(api: KubeApi, folder: Path, namespace: str = "") -> Access:
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.port)}
    return Access("", namespace, folder=folder, environ=environ)


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def fetched(access: Access, path: str = SLICES, most: int = 100_000) -> bytes:
    answer = await access.get(path)
    try:
        return await answer.body(most)
    finally:
        await answer.close()


@pytest.mark.covers("B-207")
async def test_a_pod_asks_with_its_token_in_its_namespace_and_reads_a_new_token_at_once(tmp_path: Path):
    certificate = self_signed(tmp_path, "127.0.0.1")
    async with kube_api(tls=serving(certificate)) as api:
        service_account(tmp_path, "one", certificate)
        access = in_cluster(api, tmp_path)
        await fetched(access)
        assert (api.asked[0].path, api.asked[0].authorization) == (SLICES.format(namespace="agents"), "bearer one")
        (tmp_path / "token").write_text("two")
        await fetched(access)
        assert api.asked[1].authorization == "bearer two"
        assert access.namespace == "agents"


async def test_a_namespace_that_is_asked_for_is_taken(tmp_path: Path):
    certificate = self_signed(tmp_path, "127.0.0.1")
    async with kube_api(tls=serving(certificate)) as api:
        service_account(tmp_path, "one", certificate)
        await fetched(in_cluster(api, tmp_path, "tools"))
        assert api.asked[0].path == SLICES.format(namespace="tools")


async def test_a_server_is_trusted_by_the_pods_authorities_only_and_by_those_of_today(tmp_path: Path):
    (there := tmp_path / "there").mkdir()
    (here := tmp_path / "here").mkdir()
    theirs, other = self_signed(there, "127.0.0.1"), self_signed(here, "127.0.0.1")
    async with kube_api(tls=serving(theirs)) as api:
        service_account(tmp_path, "one", other)
        access = in_cluster(api, tmp_path)
        with pytest.raises(Unreachable, match="certificate"):
            await fetched(access)
        service_account(tmp_path, "one", theirs)
        await fetched(access)
        assert len(api.asked) == 1


@pytest.mark.parametrize("missing", ["token", "ca.crt", "namespace", ""])
async def test_who_is_in_no_pod_is_told_what_to_do(tmp_path: Path, missing: str):
    if missing:
        service_account(tmp_path, "one", self_signed(tmp_path, "127.0.0.1"))
        (tmp_path / missing).unlink()
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"} if missing else {}
    with pytest.raises(NoAccess) as told:
        await fetched(Access(folder=tmp_path, environ=environ))
    assert "discovery.kubeconfig" in told.value.hint("endpointslices", "")


async def test_a_kubeconfig_says_where_who_and_in_which_namespace(tmp_path: Path):
    async with kube_api() as api:
        access = Access(api.kubeconfig(tmp_path, namespace="team", token="mine"))
        await fetched(access)
        assert (api.asked[0].path, api.asked[0].authorization) == (SLICES.format(namespace="team"), "Bearer mine")
        assert access.namespace == "team"
        assert api.asked[0].agent.startswith("mcp-sidecar/")


@pytest.mark.parametrize("text", ["", "[", "{}", "apiVersion: v1", "current-context: x\ncontexts: 7"])
async def test_a_kubeconfig_that_makes_no_sense_is_no_access(tmp_path: Path, text: str):
    (file := tmp_path / "config").write_text(text)
    with pytest.raises(NoAccess):
        await fetched(Access(str(file)))


async def test_a_kubeconfig_that_is_not_there_is_no_access(tmp_path: Path):
    with pytest.raises(NoAccess):
        await fetched(Access(str(tmp_path / "nowhere")))


@pytest.mark.parametrize(("written", "seconds"), [("7", 7.0), ("", 0.0), ("soon", 0.0), ("-1", 0.0), ("²", 0.0)])
async def test_a_refusal_has_the_servers_words_and_time(tmp_path: Path, written: str, seconds: float):
    async with kube_api() as api:
        api.fault = Refusal(429, "too many", retry_after=written.encode().decode("latin-1"))
        with pytest.raises(Refused, match="HTTP 429: too many") as refused:
            await fetched(Access(api.kubeconfig(tmp_path)))
        assert refused.value.retry_after == seconds


async def test_a_server_that_is_not_there_is_unreachable(tmp_path: Path):
    async with kube_api() as api:
        config = api.kubeconfig(tmp_path)
    with pytest.raises(Unreachable):
        await fetched(Access(config))


async def test_a_body_is_not_read_beyond_its_limit(tmp_path: Path):
    async with kube_api() as api:
        with pytest.raises(Garbled, match="larger than 10 bytes"):
            await fetched(Access(api.kubeconfig(tmp_path)), most=10)


def test_failures_know_what_to_do_about_them():
    assert "verbs list and watch on services in namespace a" in Refused(403, "").hint("services", "a")
    assert "mcpservers" in Refused(404, "").hint("mcpservers", "a")
    assert Refused(500, "").hint("services", "a") == ""
    assert Failure().hint("services", "a") == ""

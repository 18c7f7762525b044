"""The way to the API server, through `kubernetes.aio`: where it is, whom to trust, what to show. Knows no resource.

Tokens and kubeconfigs are read anew for every request. There is one in minutes, so that costs nothing, and one that is
replaced needs no code of its own. Certificates take longer to read and are looked at for a change.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import aiohttp
import msgspec
import yaml
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_kube_config
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from mcp_sidecar import __version__
from mcp_sidecar.kube.failures import Failure, Garbled, NoAccess, Refused, Unreachable

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_AGENT = f"mcp-sidecar/{__version__}"
_LONGEST_REFUSAL = 64 * 1024
_BUFFER = 256 * 1024
_BEARER = "BearerToken"


class Answer:
    """A body on its way. Close it, whatever happened: it has a connection of its own."""

    def __init__(self, session: aiohttp.ClientSession, response: aiohttp.ClientResponse) -> None:
        self._session = session
        self._response = response

    async def chunk(self) -> bytes:
        """What has come; nothing at the end. Raises `Unreachable`."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable("the connection was lost") from error

    async def body(self, most: int) -> bytes:
        """All of it. Raises `Unreachable`, and `Garbled` when it is larger than `most` bytes."""
        whole = bytearray()
        while chunk := await self.chunk():
            whole += chunk
            if len(whole) > most:
                raise Garbled(f"an answer larger than {most} bytes")
        return bytes(whole)

    async def close(self) -> None:
        self._response.close()  # not release(): the stream has not ended
        await self._session.close()


class Access:
    """Makes requests to the API server of a kubeconfig, or of the cluster that this pod is in.

    `folder` is where pods find their service account; `environ` has the address of the API server, by default the
    process's own environment.
    """

    def __init__(
        self,
        kubeconfig: str = "",
        namespace: str = "",
        *,
        folder: Path = SERVICE_ACCOUNT,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._kubeconfig = kubeconfig
        self._folder = folder
        self._environ = environ
        self._asked = namespace
        self._client: ApiClient | None = None
        self._certificates: tuple[object, ...] = ()
        self.namespace = namespace
        """Where to look. Empty until the first request when nobody said: it is that of the pod or of the kubeconfig."""

    async def get(self, path: str, query: Mapping[str, str] = MappingProxyType({})) -> Answer:
        """Ask for `path`, in which `{namespace}` stands for the namespace; the answer has status 200.

        Raises `Failure`.
        """
        return await self._ask("GET", path, query)

    async def post(self, path: str, body: bytes) -> Answer:
        """Create what the JSON `body` says; the answer has status 200 or 201. Raises `Failure`."""
        return await self._ask("POST", path, body=body)

    async def _ask(
        self, method: str, path: str, query: Mapping[str, str] = MappingProxyType({}), body: bytes | None = None
    ) -> Answer:
        configuration = await self._configure()
        client = self._client_for(configuration)
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        _, url, headers, _, _ = await client.param_serialize(
            method, path, {"namespace": self.namespace}, list(query.items()), headers, auth_settings=[_BEARER]
        )
        # The client's own session would follow redirects, each of them a request.
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=client.rest_client.ssl_context, limit=1, force_close=True),
            middlewares=(_once(),),
            read_bufsize=_BUFFER,
            timeout=aiohttp.ClientTimeout(total=None),  # who waits knows how long
            trust_env=True,
        )
        try:
            return await _send(session, configuration, method, url, headers, body)
        except BaseException:
            await session.close()
            raise

    def _client_for(self, configuration: Configuration) -> ApiClient:
        """Raises `NoAccess`."""
        try:
            certificates = _certificates(configuration)
            if self._client is None or certificates != self._certificates:
                self._client = ApiClient(configuration)
                self._client.user_agent = _AGENT
                self._certificates = certificates
        except OSError as error:  # ssl.SSLError too
            raise NoAccess(f"the certificates cannot be used: {error}") from error
        self._client.configuration = configuration
        return self._client

    async def _configure(self) -> Configuration:
        """Raises `NoAccess`."""
        configuration = Configuration()
        try:
            if self._kubeconfig:
                own = await self._read_kubeconfig(configuration)
            else:
                own = self._read_service_account(configuration)
        except (ConfigException, OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
            raise NoAccess(f"no access to the Kubernetes API: {error}") from error
        self.namespace = self._asked or own
        return configuration

    async def _read_kubeconfig(self, configuration: Configuration) -> str:
        loader = await load_kube_config(self._kubeconfig, client_configuration=configuration, persist_config=False)  # type: ignore[no-untyped-call]
        return loader.current_context["context"].get("namespace") or "default"

    def _read_service_account(self, configuration: Configuration) -> str:
        loader = InClusterConfigLoader(  # type: ignore[no-untyped-call]
            token_filename=str(self._folder / "token"),
            cert_filename=str(self._folder / "ca.crt"),
            try_refresh_token=False,
            environ=os.environ if self._environ is None else self._environ,
        )
        loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
        configuration.api_key[_BEARER] = configuration.api_key[_BEARER].strip()
        return self._asked or (self._folder / "namespace").read_text().strip()


def _certificates(configuration: Configuration) -> tuple[object, ...]:
    """What changes when the files with the certificates do."""
    paths = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
    stamps = [(path, stat.st_mtime_ns, stat.st_ino) for path in paths if path for stat in (Path(path).stat(),)]
    return (configuration.verify_ssl, *stamps)


def _once() -> aiohttp.ClientMiddlewareType:
    """Lets one request out. By itself aiohttp repeats at once what a server closes the connection on."""
    sent = False

    async def send(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        nonlocal sent
        if sent:
            raise Unreachable("the API server closed the connection")
        sent = True
        return await handler(request)

    return send


async def _send(
    session: aiohttp.ClientSession,
    configuration: Configuration,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
) -> Answer:
    try:
        response = await session.request(
            method,
            url,
            headers=headers,
            data=body,
            allow_redirects=False,
            proxy=configuration.proxy,
            server_hostname=configuration.tls_server_name,
        )
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise Unreachable(_words(error)) from error
    answer = Answer(session, response)
    if response.status not in (200, 201):
        raise Refused(response.status, await _reason(answer), _seconds(response.headers.get("Retry-After", "")))
    return answer


async def _reason(answer: Answer) -> str:
    """What the server says about its refusal, as far as it is readable."""
    try:
        status = msgspec.json.decode(await answer.body(_LONGEST_REFUSAL))
    except (Failure, msgspec.DecodeError):
        return ""
    message = status.get("message") if isinstance(status, dict) else None
    return message[:512] if isinstance(message, str) else ""


def _seconds(text: str) -> float:
    """The API server writes whole seconds, never a date."""
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0.0


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__

"""A thin client of the API server over the official asyncio one: paths, server-side apply, typed errors."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config import ConfigException
from kubernetes.aio.dynamic import DynamicClient

from adapter_operator.kubernetes.errors import (
    ApiError,
    ConflictError,
    ConnectionSettingsError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
)

Manifest = dict[str, Any]

ERRORS: Final[Mapping[int, type[ApiError]]] = {
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    410: ExpiredError,
    422: InvalidError,
}
READ_TIMEOUT_S: Final = 30.0
WATCH_S: Final = 300
"""The server ends a watch after this long; it is begun anew."""
WRITE_TIMEOUT_S: Final = 5.0
"""No longer than a Lease outlives its holder's last chance to write; see `leader.py`."""


@dataclass(frozen=True)
class Resource:
    """A namespaced kind and where it lives in the API.

    Attributes:
        api_version: Group and version, as in manifests.
        kind: The kind, as in manifests.
        plural: The kind's name in paths.
    """

    api_version: str
    kind: str
    plural: str

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """The path of an object, a collection or a subresource; of all namespaces where none is given."""
        root = "/apis" if "/" in self.api_version else "/api"
        scope = f"namespaces/{namespace}" if namespace else ""
        parts = (root, self.api_version, scope, self.plural, name, subresource)
        return "/".join(part for part in parts if part)


def object_key(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and name of a manifest."""
    return manifest["kind"], manifest["metadata"]["name"]


class KubernetesClient:
    """Requests to the API server. Every write first asks the fence whether it may still be made."""

    def __init__(
        self,
        api_client: ApiClient,
        *,
        field_manager: str,
        fence: Callable[[], None] = lambda: None,
        on_request: Callable[[str, int], None] = lambda _method, _status: None,
    ) -> None:
        """A client.

        Args:
            api_client: The connection.
            field_manager: Owner of the fields that this client applies.
            fence: Raises where this process must not write.
            on_request: Told of every request's method and HTTP status.
        """
        self._dynamic = DynamicClient(api_client)  # type: ignore[no-untyped-call]
        self._field_manager = field_manager
        self._fence = fence
        self._on_request = on_request

    async def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        """An object, or None where there is none."""
        try:
            return await self._request("get", resource.path(namespace, name))
        except NotFoundError:
            return None

    async def list(
        self, resource: Resource, namespace: str, *, labels: str | None = None, limit: int | None = None
    ) -> list[Manifest]:
        """The objects with these labels, at most so many; items carry their kind and version."""
        path = resource.path(namespace)
        answer = await self._request("get", path, label_selector=labels, limit=limit)
        kind = {"apiVersion": resource.api_version, "kind": resource.kind}
        return [kind | item for item in answer["items"]]

    async def watch(
        self, resource: Resource, namespace: str, *, labels: str, version: str
    ) -> AsyncIterator[Manifest]:
        """Events of the objects with these labels since a version, until the server ends the watch.

        Raises:
            ExpiredError: the version is too old; list again.
            ApiError: the watch could not be had, or broke off.
        """
        path = resource.path(namespace)
        try:
            response = await self._dynamic.request(
                "get",
                path,
                serialize=False,
                watch=True,
                label_selector=labels,
                resource_version=version,
                timeout_seconds=WATCH_S,
                _request_timeout=WATCH_S + READ_TIMEOUT_S,
            )
            self._on_request("watch", response.status)
            try:
                async for line in response.content:
                    yield _event(path, json.loads(line))
            finally:
                response.close()
        except ApiException as error:
            raise _api_error(f"watch {path}", error) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiError(f"watch {path}: {error or type(error).__name__}") from error

    async def list_versioned(
        self, resource: Resource, namespace: str, *, labels: str
    ) -> tuple[str, tuple[Manifest, ...]]:
        """The version to watch from, and the objects with these labels."""
        answer = await self._request("get", resource.path(namespace), label_selector=labels)
        return answer["metadata"]["resourceVersion"], tuple(answer["items"])

    async def create(self, resource: Resource, namespace: str, body: Manifest) -> Manifest:
        """Create an object."""
        self._fence()
        return await self._request("post", resource.path(namespace), body=body)

    async def replace(self, resource: Resource, namespace: str, body: Manifest) -> Manifest:
        """Replace an object; a `ConflictError` where it has changed since it was read."""
        self._fence()
        return await self._request("put", resource.path(namespace, body["metadata"]["name"]), body=body)

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None:
        """Set only the number of replicas of an object whose other fields stay as they were applied."""
        self._fence()
        await self._request(
            "patch",
            resource.path(namespace, name),
            body={"spec": {"replicas": replicas}},
            content_type="application/merge-patch+json",
            field_manager=self._field_manager,
        )

    async def apply(
        self, resource: Resource, namespace: str, body: Manifest, *, subresource: str = ""
    ) -> Manifest:
        """Server-side apply: the fields of the body become ours, whoever had them."""
        self._fence()
        return await self._request(
            "patch",
            resource.path(namespace, body["metadata"]["name"], subresource),
            body=body,
            content_type="application/apply-patch+yaml",
            field_manager=self._field_manager,
            force_conflicts="true",
        )

    async def delete(self, resource: Resource, namespace: str, name: str, *, uid: str) -> None:
        """Delete exactly this object, and in the background what it owns; gone already is fine."""
        self._fence()
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            await self._request("delete", resource.path(namespace, name), body=body)
        except NotFoundError:
            return

    async def _request(self, method: str, path: str, **options: Any) -> Manifest:
        timeout_s = READ_TIMEOUT_S if method == "get" else WRITE_TIMEOUT_S
        try:
            response = await self._dynamic.request(
                method, path, serialize=False, _request_timeout=timeout_s, **options
            )
            answer: Manifest = await response.json()
        except ApiException as error:
            self._on_request(method, error.status or 0)
            raise _api_error(f"{method} {path}", error) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._on_request(method, 0)
            raise ApiError(f"{method} {path}: {error or type(error).__name__}") from error
        self._on_request(method, response.status)
        return answer


def _api_error(request: str, error: Any) -> ApiError:
    """Our error for a refusal, with the API server's own sentence."""
    status = error.status or 0
    kind = ERRORS.get(status, ApiError)
    return kind(f"{request}: {_message(error.body) or error.reason or status}", status)


def _event(path: str, event: Manifest) -> Manifest:
    """An event of a watch; an error where it tells of one."""
    if event["type"] != "ERROR":
        return event
    status = event["object"]
    code = int(status.get("code", 0))
    raise ERRORS.get(code, ApiError)(f"watch {path}: {status.get('message', code)}", code)


def _message(body: bytes | str | None) -> str:
    try:
        return str(json.loads(body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return ""


@asynccontextmanager
async def connect(kubeconfig: Path | None) -> AsyncIterator[ApiClient]:
    """A connection by a kubeconfig file, or by the pod's ServiceAccount where none is given."""
    api_client = ApiClient(await _configuration(kubeconfig))
    try:
        yield api_client
    finally:
        await api_client.close()  # type: ignore[no-untyped-call]


async def _configuration(kubeconfig: Path | None) -> Configuration:
    configuration = Configuration()
    try:
        if kubeconfig is None:
            config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                str(kubeconfig), client_configuration=configuration, persist_config=False
            )
    except (ConfigException, OSError) as error:
        where = "no ServiceAccount is mounted here" if kubeconfig is None else f"--kubeconfig {kubeconfig}"
        raise ConnectionSettingsError(f"{where}: {error}; name a kubeconfig file by --kubeconfig") from error
    return configuration

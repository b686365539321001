"""From objects of the API server to virtual hosts. Pure.

An AdapterDeployment's routes are a ConfigMap that says which pods serve which adapter; where the pods are,
and whether they are ready, its headless Service's EndpointSlices say. Only what both say is routed.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapter_operator.gateway.document import LimitsDocument
from adapter_operator.gateway.routing import ANY_DOMAIN, Endpoint, Limits, VirtualHost
from adapter_operator.kubernetes.manifests import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

logger = logging.getLogger(__name__)

ROUTES_ROLE: Final = "routes"
ROUTES_KEY: Final = "routes.json"
PORT_NAME: Final = "http"

Name = Annotated[str, Field(min_length=1, max_length=253)]


class Routes(BaseModel):
    """The routed assignment of one AdapterDeployment: what engines have confirmed, and so get traffic for.

    Attributes:
        hosts: Host headers that choose it; `*` for what nobody else claims.
        served_name: The name of the base model.
        adapters: For each adapter the pods that hold it.
        lists_models: Whether `GET /v1/models` names them to anybody.
        limits: What is let through.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    hosts: tuple[Name, ...] = (ANY_DOMAIN,)
    served_name: Name = Field(alias="servedName")
    adapters: dict[Name, tuple[Name, ...]] = Field(default_factory=dict)
    lists_models: bool = Field(default=True, alias="listsModels")
    limits: LimitsDocument = LimitsDocument()


def virtual_hosts(
    config_maps: Iterable[Mapping[str, Any]], endpoint_slices: Iterable[Mapping[str, Any]]
) -> tuple[VirtualHost, ...]:
    """The virtual hosts, the oldest first, for it keeps a domain that a younger one claims too."""
    ready = _ready_pods(endpoint_slices)
    found = []
    for manifest in sorted(config_maps, key=_age):
        routes = _routes(manifest)
        if routes is not None:
            found.append(_virtual_host(manifest, routes, ready))
    return tuple(found)


def _age(manifest: Mapping[str, Any]) -> tuple[str, str, str]:
    metadata = manifest["metadata"]
    return metadata.get("creationTimestamp") or "", metadata["namespace"], metadata["name"]


def _routes(manifest: Mapping[str, Any]) -> Routes | None:
    """The routes in a ConfigMap; None, with a log line, where it holds none that can be read."""
    try:
        return Routes.model_validate_json((manifest.get("data") or {}).get(ROUTES_KEY, ""))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or ROUTES_KEY
        name = f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"
        logger.error("%s is left out: %s: %s", name, where, first["msg"])  # noqa: TRY400 - no trace is needed
        return None


def _virtual_host(
    manifest: Mapping[str, Any], routes: Routes, ready: Mapping[tuple[str, str], Mapping[str, Endpoint]]
) -> VirtualHost:
    metadata = manifest["metadata"]
    deployment = metadata["labels"][names.DEPLOYMENT_LABEL]
    pods = ready.get((metadata["namespace"], deployment), {})
    return VirtualHost(
        name=f"{metadata['namespace']}/{deployment}",
        domains=routes.hosts,
        served_name=routes.served_name,
        base=tuple(sorted(pods.values())),
        adapters={
            adapter: tuple(sorted(pods[pod] for pod in holders if pod in pods))
            for adapter, holders in routes.adapters.items()
        },
        lists_models=routes.lists_models,
        limits=Limits(**routes.limits.model_dump()),
    )


def _ready_pods(
    endpoint_slices: Iterable[Mapping[str, Any]],
) -> Mapping[tuple[str, str], Mapping[str, Endpoint]]:
    """By (namespace, deployment): by pod's name the endpoint of each that is ready and not going."""
    found: dict[tuple[str, str], dict[str, Endpoint]] = defaultdict(dict)
    for manifest in endpoint_slices:
        metadata = manifest["metadata"]
        port = next(
            (port["port"] for port in manifest.get("ports") or () if port.get("name") == PORT_NAME), None
        )
        deployment = metadata.get("labels", {}).get(names.DEPLOYMENT_LABEL)
        if port is None or deployment is None:
            continue
        for endpoint in manifest.get("endpoints") or ():
            conditions, pod = endpoint.get("conditions", {}), endpoint.get("targetRef", {}).get("name")
            if pod and conditions.get("ready") and not conditions.get("terminating"):
                found[metadata["namespace"], deployment][pod] = Endpoint(endpoint["addresses"][0], port)
    return found

"""The reconcile loop's ports on a Kubernetes cluster."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from adapter_operator.api.v1alpha1 import API_VERSION, KIND, PLURAL
from adapter_operator.kubernetes.client import KubernetesClient, Manifest, Resource, object_key
from adapter_operator.kubernetes.errors import NotFoundError
from adapter_operator.kubernetes.manifests import names, render
from adapter_operator.kubernetes.observation import engine_problems, observed_pools, plan_records
from adapter_operator.reconcile.inputs import document_references
from adapter_operator.reconcile.values import Announcement, Desired, EngineProblem, ObjectKey, Observed

ADAPTER_DEPLOYMENTS: Final = Resource(API_VERSION, KIND, PLURAL)
STATEFUL_SETS: Final = Resource("apps/v1", "StatefulSet", "statefulsets")
CONFIG_MAPS: Final = Resource("v1", "ConfigMap", "configmaps")
SERVICES: Final = Resource("v1", "Service", "services")
PODS: Final = Resource("v1", "Pod", "pods")
DISRUPTION_BUDGETS: Final = Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
EVENTS: Final = Resource("events.k8s.io/v1", "Event", "events")

APPLIED: Final = {
    resource.kind: resource for resource in (STATEFUL_SETS, CONFIG_MAPS, SERVICES, DISRUPTION_BUDGETS)
}
REPORTING_CONTROLLER: Final = "adaptwin.io/operator"
MAX_NOTE: Final = 1024

logger = logging.getLogger(__name__)


class KubernetesCluster:
    """AdapterDeployments and what they own, by the API server."""

    def __init__(self, objects: KubernetesClient, statuses: KubernetesClient, identity: str) -> None:
        """The cluster.

        Args:
            objects: Applies owned objects.
            statuses: Applies statuses; a field manager of its own.
            identity: Names this process in Events.
        """
        self._objects = objects
        self._statuses = statuses
        self._identity = identity

    async def observe(self, key: ObjectKey) -> Observed | None:
        """The object and what exists for it, read from the API server; None where it is gone or going."""
        resource = await self._objects.get(ADAPTER_DEPLOYMENTS, key.namespace, key.name)
        if resource is None or resource["metadata"].get("deletionTimestamp"):
            return None
        uid = resource["metadata"]["uid"]
        engines = names.owned_selector(key.name, names.ENGINE_ROLE)
        stateful_sets, config_maps, pods, documents = await asyncio.gather(
            self._owned(STATEFUL_SETS, key, uid),
            self._owned(CONFIG_MAPS, key, uid),
            self._objects.list(PODS, key.namespace, labels=engines),
            self._documents(key.namespace, resource["spec"]),
        )
        return Observed(
            key=key,
            resource=resource,
            pools=observed_pools(stateful_sets, config_maps, pods),
            plans=plan_records(config_maps),
            documents=documents,
        )

    async def actuate(self, desired: Desired) -> None:
        """Apply what should exist, in order; then scale and delete what earlier plans left."""
        metadata = desired.deployment.metadata
        key = ObjectKey(metadata.namespace, metadata.name)
        for manifest in render(desired):
            await self._objects.apply(APPLIED[manifest["kind"]], key.namespace, manifest)
        for pool, replicas in desired.outgoing.items():
            name = names.pool_object_name(key.name, pool)
            await self._objects.scale(STATEFUL_SETS, key.namespace, name, replicas)
        await self._delete_leftovers(desired, key, metadata.uid)

    async def report(self, key: ObjectKey, status: Mapping[str, Any]) -> None:
        """Apply the status; conflicts cannot happen, for its fields are nobody else's."""
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": key.name},
            "status": dict(status),
        }
        try:
            await self._statuses.apply(ADAPTER_DEPLOYMENTS, key.namespace, body, subresource="status")
        except NotFoundError:
            logger.info("the object is gone", extra={"object": str(key)})

    async def announce(self, observed: Observed, announcement: Announcement) -> None:
        """Write an Event about the object."""
        key = observed.key
        body = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": f"{key.name}.{uuid4().hex[:16]}", "namespace": key.namespace},
            "eventTime": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "type": announcement.kind,
            "reason": announcement.reason,
            "action": announcement.action,
            "note": announcement.message[:MAX_NOTE],
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "namespace": key.namespace,
                "name": key.name,
                "uid": observed.uid,
            },
            "reportingController": REPORTING_CONTROLLER,
            "reportingInstance": self._identity[:128],
        }
        await self._objects.create(EVENTS, key.namespace, body)

    async def _owned(self, resource: Resource, key: ObjectKey, uid: str) -> list[Manifest]:
        """Objects that this AdapterDeployment owns, and not a deleted namesake."""
        found = await self._objects.list(resource, key.namespace, labels=names.owned_selector(key.name))
        return [manifest for manifest in found if names.owned_by(manifest, uid)]

    async def _documents(self, namespace: str, spec: Mapping[str, Any]) -> dict[tuple[str, str], str]:
        """The ConfigMaps' texts that a spec refers to, as far as they exist."""
        references = document_references(spec)
        wanted = sorted({name for name, _ in references})
        found = await asyncio.gather(*(self._objects.get(CONFIG_MAPS, namespace, name) for name in wanted))
        data = {name: (item or {}).get("data", {}) for name, item in zip(wanted, found, strict=True)}
        return {(name, key): data[name][key] for name, key in references if key in data[name]}

    async def _delete_leftovers(self, desired: Desired, key: ObjectKey, uid: str) -> None:
        """Delete retired pools with their assignments, and plans that are no longer told of."""
        if desired.retired:
            logger.info("retiring pools", extra={"object": str(key), "pools": list(desired.retired)})
        for manifest in await self._owned(STATEFUL_SETS, key, uid) if desired.retired else []:
            if manifest["metadata"]["labels"][names.POOL_LABEL] in desired.retired:
                await self._delete(STATEFUL_SETS, key, manifest)
        for manifest in await self._owned(CONFIG_MAPS, key, uid):
            if _outdated(manifest, desired):
                await self._delete(CONFIG_MAPS, key, manifest)

    async def _delete(self, resource: Resource, key: ObjectKey, manifest: Manifest) -> None:
        _, name = object_key(manifest)
        await self._objects.delete(resource, key.namespace, name, uid=manifest["metadata"]["uid"])


class KubernetesEngines:
    """The engines' pods."""

    def __init__(self, client: KubernetesClient) -> None:
        """Engines by this client."""
        self._client = client

    async def problems(self, key: ObjectKey) -> Collection[EngineProblem]:
        """Pods that cannot be scheduled, or whose container cannot start."""
        selector = names.owned_selector(key.name, names.ENGINE_ROLE)
        return engine_problems(await self._client.list(PODS, key.namespace, labels=selector))


def _outdated(config_map: Manifest, desired: Desired) -> bool:
    """Whether a ConfigMap belongs to a retired pool, or to a plan that is no longer told of."""
    labels, name = config_map["metadata"]["labels"], config_map["metadata"]["name"]
    if labels[names.ROLE_LABEL] == names.ASSIGNMENT_ROLE:
        return labels[names.POOL_LABEL] in desired.retired
    return name.rpartition("-")[2] not in desired.kept_plans

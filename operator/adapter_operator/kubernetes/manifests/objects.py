"""All owned objects of an AdapterDeployment, in the order in which they must exist."""

import json
from collections.abc import Mapping
from typing import Any, Final

from adapter_operator.api.v1alpha1 import API_VERSION, KIND, AdapterDeployment
from adapter_operator.kubernetes.manifests import names
from adapter_operator.kubernetes.manifests.stateful_set import HTTP_PORT, stateful_set
from adapter_operator.reconcile.values import Desired, DesiredPool

Manifest = dict[str, Any]


def render(desired: Desired) -> tuple[Manifest, ...]:
    """The objects to apply: the plan first, so that it is known before anything follows from it."""
    deployment = desired.deployment
    manifests = [
        _plan(desired),
        _service(deployment),
        _disruption_budget(deployment),
        *(_assignment(desired, pool) for pool in desired.pools),
        *(stateful_set(deployment, desired.profile, pool) for pool in desired.pools),
    ]
    owner = owner_reference(deployment)
    for manifest in manifests:
        manifest["metadata"] |= {"namespace": deployment.metadata.namespace, "ownerReferences": [owner]}
    return tuple(manifests)


def owner_reference(deployment: AdapterDeployment) -> Manifest:
    """Makes the garbage collector delete what the object owned, whether or not an operator runs."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": deployment.metadata.name,
        "uid": deployment.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _plan(desired: Desired) -> Manifest:
    """The verified plan; its content never changes, which of all plans is in force does."""
    name, record = desired.deployment.metadata.name, desired.record
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": record.name(name),
            "labels": names.owner_labels(name, names.PLAN_ROLE),
            "annotations": {
                names.GENERATION_ANNOTATION: str(record.generation),
                names.INPUTS_ANNOTATION: record.inputs,
            },
        },
        "immutable": True,
        "data": {names.PLAN_KEY: record.plan.to_json()},
    }


def _service(deployment: AdapterDeployment) -> Manifest:
    """Headless: gives the engines' pods names, and gateways their addresses."""
    name = deployment.metadata.name
    labels = names.owner_labels(name, names.ENGINE_ROLE)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": names.service_name(name), "labels": labels},
        "spec": {
            "clusterIP": "None",
            "selector": labels,
            "ports": [{"name": "http", "port": HTTP_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def _disruption_budget(deployment: AdapterDeployment) -> Manifest:
    name = deployment.metadata.name
    labels = names.owner_labels(name, names.ENGINE_ROLE)
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": names.service_name(name), "labels": labels},
        "spec": {
            "maxUnavailable": deployment.spec.rollout.max_unavailable,
            "selector": {"matchLabels": labels},
        },
    }


def _assignment(desired: Desired, pool: DesiredPool) -> Manifest:
    """What each replica of a pool serves, by ordinal."""
    name = desired.deployment.metadata.name
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names.assignment_name(name, pool.pool.name),
            "labels": names.owner_labels(name, names.ASSIGNMENT_ROLE) | {names.POOL_LABEL: pool.pool.name},
        },
        "data": {
            **{str(ordinal): text for ordinal, text in pool.carried.items()},
            **{
                str(ordinal): _replica_assignment(desired, adapters)
                for ordinal, adapters in pool.assignments.items()
            },
        },
    }


_COMPACT: Final = (",", ":")


def _replica_assignment(desired: Desired, shares: Mapping[str, float]) -> str:
    """The adapters of one replica: what to load, from where, and which part of its traffic to expect."""
    adapters = [
        {
            "name": adapter.name,
            "rank": adapter.rank,
            "share": shares[adapter.name],
            "source": adapter.source.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        for adapter in sorted(desired.deployment.spec.adapters, key=lambda adapter: adapter.name)
        if adapter.name in shares
    ]
    content = {
        "plan": desired.record.plan.hash,
        "generation": desired.record.generation,
        "adapters": adapters,
    }
    return json.dumps(content, separators=_COMPACT)

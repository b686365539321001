"""From objects of the API server to what the reconcile loop observes. Pure."""

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from adapter_operator.kubernetes.manifests import names
from adapter_operator.reconcile.rollout import PoolState
from adapter_operator.reconcile.values import EngineProblem, ObservedPool, PlanRecord
from adapter_predictor.errors import PlanError
from adapter_predictor.plan import Plan

Manifest = Mapping[str, Any]

WAITING_IN_VAIN = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "CrashLoopBackOff",
)

logger = logging.getLogger(__name__)


def observed_pools(
    stateful_sets: Iterable[Manifest], config_maps: Iterable[Manifest], pods: Collection[Manifest]
) -> tuple[ObservedPool, ...]:
    """The pools: their replicas from StatefulSets and pods, what they serve from assignment ConfigMaps."""
    assignments = {
        _label(manifest, names.POOL_LABEL): _assignments(manifest)
        for manifest in config_maps
        if _label(manifest, names.ROLE_LABEL) == names.ASSIGNMENT_ROLE
    }
    states = sorted((_state(manifest, pods) for manifest in stateful_sets), key=lambda state: state.name)
    return tuple(ObservedPool(state, assignments.get(state.name, {})) for state in states)


def plan_records(config_maps: Iterable[Manifest]) -> tuple[PlanRecord, ...]:
    """The plans, the one in force first; what cannot be read is as good as not there."""
    records = []
    for manifest in config_maps:
        if _label(manifest, names.ROLE_LABEL) == names.PLAN_ROLE:
            try:
                records.append(_record(manifest))
            except (PlanError, KeyError, ValueError) as error:
                logger.warning("%s is no plan: %s", manifest["metadata"]["name"], error)
    return tuple(sorted(records, key=lambda record: -record.generation))


def engine_problems(pods: Iterable[Manifest]) -> tuple[EngineProblem, ...]:
    """Pods that cannot be scheduled, or whose container cannot start, by name."""
    found = (problem for pod in pods if (problem := _problem(pod)) is not None)
    return tuple(sorted(found, key=lambda problem: problem.engine))


def owner_name(manifest: Manifest, kind: str) -> str | None:
    """Name of the owner of a kind; None where there is none."""
    owners = manifest.get("metadata", {}).get("ownerReferences", ())
    return next((str(owner["name"]) for owner in owners if owner["kind"] == kind), None)


def _label(manifest: Manifest, label: str) -> str:
    return str(manifest["metadata"].get("labels", {}).get(label, ""))


def _state(stateful_set: Manifest, pods: Iterable[Manifest]) -> PoolState:
    """A pool's replicas; its status knows how many are ready, but only the pods themselves know which."""
    uid, status = stateful_set["metadata"]["uid"], stateful_set.get("status", {})
    ready = frozenset(_ordinal(pod) for pod in pods if names.owned_by(pod, uid) and _ready(pod))
    return PoolState(
        name=_label(stateful_set, names.POOL_LABEL),
        replicas=stateful_set["spec"].get("replicas", 1),
        pods=status.get("replicas", 0),
        ready=len(ready),
        ready_ordinals=ready,
    )


def _ordinal(pod: Manifest) -> int:
    """The last part of the name that a StatefulSet gave its pod."""
    return int(pod["metadata"]["name"].rpartition("-")[2])


def _ready(pod: Manifest) -> bool:
    """Whether a pod serves, and is to go on serving."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = pod.get("status", {}).get("conditions", ())
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def _assignments(config_map: Manifest) -> dict[int, str]:
    return {int(key): text for key, text in config_map.get("data", {}).items() if key.isdecimal()}


def _record(config_map: Manifest) -> PlanRecord:
    annotations = config_map["metadata"].get("annotations", {})
    return PlanRecord(
        plan=Plan.from_json(config_map["data"][names.PLAN_KEY]),
        generation=int(annotations[names.GENERATION_ANNOTATION]),
        inputs=annotations[names.INPUTS_ANNOTATION],
    )


def _problem(pod: Manifest) -> EngineProblem | None:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return EngineProblem(name, "Unschedulable", condition.get("message", ""))
    for container in status.get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") in WAITING_IN_VAIN:
            return EngineProblem(name, waiting["reason"], waiting.get("message", ""))
    return None

"""The StatefulSet of a pool: its engines are what the profile describes, with what the user may add."""

from typing import Any, Final

from adapter_operator.api.v1alpha1 import AdapterDeployment
from adapter_operator.kubernetes.manifests import names
from adapter_operator.kubernetes.manifests.arguments import engine_arguments
from adapter_operator.kubernetes.manifests.volumes import HOME, volume_mounts, volumes
from adapter_operator.reconcile.values import DesiredPool
from adapter_twin.profile import Profile

Manifest = dict[str, Any]

HTTP_PORT: Final = 8000
GPU_RESOURCE: Final = "nvidia.com/gpu"
DEFAULT_IMAGE: Final = "vllm/vllm-openai"
USER_ID: Final = 1000

PROBE_PERIOD_S: Final = 10
STARTUP_BUDGET_S: Final = 3600
"""How long weights may take to arrive and to be loaded before a start counts as failed."""
PRE_STOP_S: Final = 15
"""Time for gateways to learn that a pod is going before its engine stops."""
DRAIN_S: Final = 105
"""Time for running requests to end after that."""


def stateful_set(deployment: AdapterDeployment, profile: Profile, pool: DesiredPool) -> Manifest:
    """A pool's StatefulSet. `OnDelete`: a changed template alone restarts no engine."""
    name = deployment.metadata.name
    labels = names.owner_labels(name, names.ENGINE_ROLE) | {names.POOL_LABEL: pool.pool.name}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": names.pool_object_name(name, pool.pool.name), "labels": labels},
        "spec": {
            "replicas": pool.replicas,
            "serviceName": names.service_name(name),
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {"kubectl.kubernetes.io/default-container": "engine"},
                },
                "spec": _pod(deployment, profile, pool, labels),
            },
        },
    }


def _pod(
    deployment: AdapterDeployment, profile: Profile, pool: DesiredPool, labels: dict[str, str]
) -> Manifest:
    engine = deployment.spec.engine
    assignment = names.assignment_name(deployment.metadata.name, pool.pool.name)
    pod: Manifest = {
        "containers": [_container(deployment, profile, pool)],
        "volumes": volumes(deployment.spec, assignment),
        "terminationGracePeriodSeconds": PRE_STOP_S + DRAIN_S,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    scheduling = {
        "nodeSelector": dict(engine.node_selector),
        "affinity": _as_object(engine.affinity),
        "tolerations": [_as_object(toleration) for toleration in engine.tolerations],
        "topologySpreadConstraints": [
            _as_object(spread) | {"labelSelector": {"matchLabels": labels}}
            for spread in engine.topology_spread
        ],
        "priorityClassName": engine.priority_class_name,
        "imagePullSecrets": [_as_object(secret) for secret in engine.image_pull_secrets],
    }
    return pod | {field: value for field, value in scheduling.items() if value}


def _container(deployment: AdapterDeployment, profile: Profile, pool: DesiredPool) -> Manifest:
    engine = deployment.spec.engine
    gpus = {GPU_RESOURCE: str(profile.tensor_parallel_size)}
    return {
        "name": "engine",
        "image": engine.image or f"{DEFAULT_IMAGE}:v{engine.version or profile.engine.version}",
        "args": engine_arguments(deployment.spec, profile, pool.pool),
        "env": _environment(deployment),
        "ports": [{"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"}],
        "resources": {
            "requests": _as_object(engine.resources.requests) | gpus,
            "limits": _as_object(engine.resources.limits) | gpus,
        },
        "startupProbe": _health(failures=STARTUP_BUDGET_S // PROBE_PERIOD_S),
        "readinessProbe": _health(failures=2),
        "livenessProbe": _health(failures=6),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_S}}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": volume_mounts(deployment.spec),
    }


def _health(*, failures: int) -> Manifest:
    return {
        "httpGet": {"path": "/health", "port": "http", "scheme": "HTTP"},
        "periodSeconds": PROBE_PERIOD_S,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _environment(deployment: AdapterDeployment) -> list[Manifest]:
    """Ours, then the user's; where both set a variable that is not reserved, the user's counts."""
    own = {
        "HOME": HOME,
        "USER": "engine",
        "HF_HOME": f"{HOME}/.cache/huggingface",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    theirs = {variable.name: _as_object(variable) for variable in deployment.spec.engine.env}
    variables = {name: {"name": name, "value": value} for name, value in own.items()} | theirs
    return list(variables.values())


def _as_object(model: Any) -> Manifest:
    """A part of the spec as Kubernetes takes it, for it is written as in a pod."""
    content: Manifest = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return content

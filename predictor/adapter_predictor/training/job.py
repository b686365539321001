"""A dataset made on a Kubernetes cluster: an Indexed Job whose pods make shards, and a Job that merges them.

The shards lie on one volume that all pods mount. A pod that is evicted, preempted or killed is replaced, and
the new one goes on where the old one stopped.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from adapter_predictor.errors import DatasetError
from adapter_twin.profile import Profile
from adapter_twin.version import __version__

_USER: Final = 65532
_PROFILE: Final = "/profile"
_RUNS: Final = "/runs"
_RETRIES_PER_SHARD: Final = 6
_BYTES_PER_SAMPLE: Final = 4_000
_LEAST_STORAGE_MIB: Final = 1024
_MOST_SHARDS: Final = 10_000
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?")
"""A DNS label that leaves room for what pods' names and the merging Job's append."""

Manifest = dict[str, Any]


@dataclass(frozen=True)
class DatasetJob:
    """What the cluster is to make.

    Attributes:
        profile: The profile; it travels in a ConfigMap, so any version of the image takes it.
        samples: Runs in all.
        seed: Of loads and arrivals.
        horizon_s: Simulated seconds of each run.
        shards: Pods that each make their part.
        parallelism: Pods at once.
        name: Of every object.
        image: The operator's image.
        storage_class: Of the volume, which must be ReadWriteMany; the cluster's default where None.
    """

    profile: Profile
    samples: int
    seed: int
    horizon_s: float
    shards: int
    parallelism: int
    name: str = "adaptwin-dataset"
    image: str = f"adaptwin:{__version__}"
    storage_class: str | None = None

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise DatasetError(
                f"name: {self.name!r} is not 1 to 52 lower-case letters, digits and inner hyphens"
            )
        if not self.image.strip():
            raise DatasetError("image: it is empty; name one that your cluster finds")
        if not 1 <= self.shards <= min(self.samples, _MOST_SHARDS):
            raise DatasetError(
                f"shards: {self.shards} is not between 1 and {min(self.samples, _MOST_SHARDS)}"
            )
        if not 1 <= self.parallelism <= self.shards:
            raise DatasetError(f"parallelism: {self.parallelism} is not between 1 and {self.shards}")

    def to_yaml(self) -> str:
        """What `kubectl apply -f -` makes the shards with."""
        return _HEADER.format(name=self.name) + _documents([self._profile(), self._volume(), self._shards()])

    def merge_yaml(self) -> str:
        """What `kubectl apply -f -` puts them together with, once all are there."""
        return _documents([self._merge()])

    def _profile(self) -> Manifest:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.name},
            "immutable": True,
            "data": {"profile.json": self.profile.model_dump_json(indent=2) + "\n"},
        }

    def _volume(self) -> Manifest:
        mib = max(_LEAST_STORAGE_MIB, 2 * self.samples * _BYTES_PER_SAMPLE // 2**20)
        spec: Manifest = {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": f"{mib}Mi"}},
        }
        if self.storage_class is not None:
            spec["storageClassName"] = self.storage_class
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": self.name},
            "spec": spec,
        }

    def _shards(self) -> Manifest:
        made = ["predictor", "dataset", "--profile", f"{_PROFILE}/profile.json"]
        drawn = ["--samples", str(self.samples), "--seed", str(self.seed), "--horizon", str(self.horizon_s)]
        part = ["--shard", f"/{self.shards}", "--out", f"{_RUNS}/shard-$(JOB_COMPLETION_INDEX)"]
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": self.name},
            "spec": {
                "completionMode": "Indexed",
                "completions": self.shards,
                "parallelism": self.parallelism,
                "backoffLimitPerIndex": _RETRIES_PER_SHARD,
                "podFailurePolicy": {"rules": [_disruptions_are_no_failures()]},
                "template": self._pod([*made, *drawn, *part]),
            },
        }

    def _merge(self) -> Manifest:
        shards = [f"{_RUNS}/shard-{index}" for index in range(self.shards)]
        arguments = [
            "predictor",
            "merge",
            *shards,
            "--samples",
            str(self.samples),
            "--out",
            f"{_RUNS}/merged",
        ]
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": f"{self.name}-merge"},
            "spec": {"backoffLimit": 1, "template": self._pod(arguments, memory="4Gi")},
        }

    def _pod(self, arguments: Sequence[str], memory: str = "1Gi") -> Manifest:
        return {
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": _USER,
                    "fsGroup": _USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "adaptwin",
                        "image": self.image,
                        "args": list(arguments),
                        "resources": {
                            "requests": {"cpu": "1", "memory": "512Mi"},
                            "limits": {"memory": memory},
                        },
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                            "readOnlyRootFilesystem": True,
                        },
                        "volumeMounts": [
                            {"name": "profile", "mountPath": _PROFILE, "readOnly": True},
                            {"name": "runs", "mountPath": _RUNS},
                            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
                        ],
                    }
                ],
                "volumes": [
                    {"name": "profile", "configMap": {"name": self.name}},
                    {"name": "runs", "persistentVolumeClaim": {"claimName": self.name}},
                    {"name": "tmp", "emptyDir": {}},
                ],
            }
        }


def _disruptions_are_no_failures() -> Manifest:
    """A drained node or a preemption does not count against a shard's retries."""
    return {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def _documents(manifests: Sequence[Manifest]) -> str:
    return "---\n".join(yaml.safe_dump(manifest, sort_keys=False) for manifest in manifests)


_HEADER: Final = """\
# A dataset for `adaptwin predictor train`, made in shards by an Indexed Job.
#
#   adaptwin predictor job … | kubectl apply -f -
#   kubectl wait --for=condition=Complete --timeout=24h job/{name}
#   adaptwin predictor job … --merge | kubectl apply -f -    # puts the shards together
#   kubectl wait --for=condition=Complete job/{name}-merge
#
# The merged dataset lies in the volume's folder `merged`: byte for byte what one machine would have made.
# A pod that dies is replaced, and the new one goes on where the old one stopped.
"""

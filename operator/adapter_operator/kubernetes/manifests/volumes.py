"""The volumes of an engine's pod and where they are mounted."""

from typing import Any, Final

from adapter_operator.api.v1alpha1 import Spec

Manifest = dict[str, Any]

HOME: Final = "/home/engine"
MODEL_PATH: Final = "/model"
ASSIGNMENT_PATH: Final = "/etc/adaptwin/assignment"

SHARED_MEMORY: Final = "adaptwin-shm"
HOME_VOLUME: Final = "adaptwin-home"
MODEL_VOLUME: Final = "adaptwin-model"
ASSIGNMENT_VOLUME: Final = "adaptwin-assignment"


def volumes(spec: Spec, assignment: str) -> list[Manifest]:
    """The pod's volumes; `assignment` names the pool's assignment ConfigMap."""
    own: list[Manifest] = [
        {"name": SHARED_MEMORY, "emptyDir": {"medium": "Memory"}},
        {"name": HOME_VOLUME, "emptyDir": {}},
        {"name": ASSIGNMENT_VOLUME, "configMap": {"name": assignment}},
    ]
    claim = spec.model.source.pvc
    if claim is not None:
        source = {"claimName": claim.claim_name, "readOnly": True}
        own.append({"name": MODEL_VOLUME, "persistentVolumeClaim": source})
    return own + [_volume(volume) for volume in spec.engine.volumes]


def volume_mounts(spec: Spec) -> list[Manifest]:
    """Where the engine's container finds them."""
    own: list[Manifest] = [
        {"name": SHARED_MEMORY, "mountPath": "/dev/shm"},  # noqa: S108 - NCCL's place, in a volume of its own
        {"name": HOME_VOLUME, "mountPath": HOME},
        {"name": ASSIGNMENT_VOLUME, "mountPath": ASSIGNMENT_PATH, "readOnly": True},
    ]
    claim = spec.model.source.pvc
    if claim is not None:
        mount: Manifest = {"name": MODEL_VOLUME, "mountPath": MODEL_PATH, "readOnly": True}
        own.append(mount | ({"subPath": claim.path} if claim.path else {}))
    return own + [_mount(volume) for volume in spec.engine.volumes]


def _volume(volume: Any) -> Manifest:
    content: Manifest = volume.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude={"mount_path", "sub_path"}
    )
    return content


def _mount(volume: Any) -> Manifest:
    content: Manifest = volume.model_dump(
        mode="json", by_alias=True, exclude_none=True, include={"name", "mount_path", "sub_path"}
    )
    return content

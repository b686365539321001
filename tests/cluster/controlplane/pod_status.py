"""What a kubelet would report of a pod: pure."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

FINAL_PHASES = frozenset({"Succeeded", "Failed"})


def next_status(pod: dict[str, Any], *, ready: bool, now: datetime) -> dict[str, Any] | None:
    """The status to patch into a bound pod, or None where it is already so.

    Args:
        pod: The pod, as the API server gives it.
        ready: Whether its readiness probe succeeds.
        now: The time of the change.
    """
    status = pod.get("status", {})
    if status.get("phase") in FINAL_PHASES or _is_reported(status, ready=ready):
        return None
    time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    address = _address(pod["metadata"]["uid"])
    return {
        "phase": "Running",
        "startTime": status.get("startTime", time),
        "hostIP": "192.0.2.1",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": _conditions(ready=ready, time=time),
        "containerStatuses": [
            _running(container, ready=ready, time=status.get("startTime", time))
            for container in pod["spec"]["containers"]
        ],
        "initContainerStatuses": [
            _initialised(container, ready=ready, time=status.get("startTime", time))
            for container in pod["spec"].get("initContainers", [])
        ],
    }


def _is_reported(status: dict[str, Any], *, ready: bool) -> bool:
    reported = {condition["type"]: condition["status"] for condition in status.get("conditions", [])}
    return status.get("phase") == "Running" and reported.get("Ready") == str(ready)


def _conditions(*, ready: bool, time: str) -> list[dict[str, str]]:
    states = {
        "Initialized": True,
        "PodReadyToStartContainers": True,
        "ContainersReady": ready,
        "Ready": ready,
    }
    return [
        {"type": kind, "status": str(state), "lastTransitionTime": time} for kind, state in states.items()
    ]


def _running(container: dict[str, Any], *, ready: bool, time: str) -> dict[str, Any]:
    return {
        **_container(container),
        "ready": ready,
        "started": ready,
        "state": {"running": {"startedAt": time}},
    }


def _initialised(container: dict[str, Any], *, ready: bool, time: str) -> dict[str, Any]:
    """A sidecar (``restartPolicy: Always``) runs on; any other init container has ended well."""
    if container.get("restartPolicy") == "Always":
        return _running(container, ready=ready, time=time)
    ended = {"exitCode": 0, "reason": "Completed", "startedAt": time, "finishedAt": time}
    return {**_container(container), "ready": True, "started": False, "state": {"terminated": ended}}


def _container(container: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": f"played://{container['image']}",
        "containerID": f"played://{container['name']}",
        "restartCount": 0,
    }


def _address(uid: str) -> str:
    """An address in 10.244.0.0/16, the same for the same pod."""
    number = zlib.crc32(uid.encode())
    return f"10.244.{number >> 8 & 0xFF}.{number % 254 + 1}"

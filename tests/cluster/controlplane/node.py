"""A GPU node made by hand, and the fake kubelet that plays its pods.

The Node is real to the scheduler, to the controllers and to the operator; nothing runs on it. Its pods are
marked running and ready as a kubelet would mark them, and removed when they are told to go. Pods of other
nodes are never touched, so that a real kubelet may work in the same cluster.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from kubernetes import client as k8s
from kubernetes.client.exceptions import ApiException

from controlplane import pod_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HEARTBEAT_S = 10.0
POLL_S = 0.1
READY_TIMEOUT_S = 60.0
LEASES = "kube-node-lease"
GONE = 404
CONFLICT = 409
JSON = "application/json"


class GpuNode:
    """A Node that says it has GPUs, kept Ready by a heartbeat for as long as the context lasts."""

    def __init__(
        self, client: k8s.ApiClient, name: str, *, gpus: int = 8, labels: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.gpus = gpus
        self._labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **(labels or {})}
        self._core = k8s.CoreV1Api(client)
        self._leases = k8s.CoordinationV1Api(client)
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name=f"heartbeat of {name}", daemon=True)

    def __enter__(self) -> Self:
        """Makes the Node and waits until pods may be bound to it."""
        self._core.create_node({"metadata": {"name": self.name, "labels": self._labels}})
        self._renew()
        self._core.patch_node_status(self.name, {"status": _node_status(self.name, self.gpus)})
        self._heart.start()
        self._wait_schedulable()
        return self

    def __exit__(self, *_: object) -> None:
        """Deletes the Node and what is still bound to it."""
        self._ended.set()
        self._heart.join()
        for pod in _pods_of(self._core, self.name):
            _remove(self._core, pod)
        with contextlib.suppress(ApiException):
            self._core.delete_node(self.name)
        with contextlib.suppress(ApiException):
            self._leases.delete_namespaced_lease(self.name, LEASES)

    def _wait_schedulable(self) -> None:
        """The node lifecycle controller takes its not-ready taint away once it has seen the status."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while self._core.read_node(self.name).spec.taints:
            if time.monotonic() > deadline:
                raise TimeoutError(f"node {self.name} still has its taints after {READY_TIMEOUT_S:g} s")
            time.sleep(POLL_S)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            with contextlib.suppress(ApiException):  # the next beat is soon
                self._renew()

    def _renew(self) -> None:
        spec = {
            "holderIdentity": self.name,
            "leaseDurationSeconds": 40,
            "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        body = {"metadata": {"name": self.name, "namespace": LEASES}, "spec": spec}
        try:
            self._leases.patch_namespaced_lease(self.name, LEASES, body)
        except ApiException as error:
            if error.status != GONE:
                raise
            self._leases.create_namespaced_lease(LEASES, body)


class FakeKubelet:
    """Plays the kubelet of one node: its pods start, become ready, and go.

    Attributes:
        starting_s: How long a pod runs before it is ready (weights and compilation of an engine).
    """

    def __init__(self, client: k8s.ApiClient, node: str, *, starting_s: float = 0.0) -> None:
        self.starting_s = starting_s
        self._core = k8s.CoreV1Api(client)
        self._node = node
        self._first_seen: dict[str, float] = {}
        self._unready: set[tuple[str, str]] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"kubelet of {node}", daemon=True)

    def __enter__(self) -> Self:
        """Starts to play."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops to play; pods stay as they are."""
        self._ended.set()
        self._thread.join()

    @contextlib.contextmanager
    def unready(self, namespace: str, pod: str) -> Iterator[None]:
        """While this lasts, a pod fails its readiness probe (also one that is yet to come)."""
        self._unready.add((namespace, pod))
        try:
            yield
        finally:
            self._unready.discard((namespace, pod))

    def _run(self) -> None:
        while not self._ended.wait(POLL_S):
            with contextlib.suppress(ApiException):  # all of it is looked at again at the next turn
                for pod in _pods_of(self._core, self._node):
                    self._play(pod)

    def _play(self, pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        if "deletionTimestamp" in metadata:
            _remove(self._core, pod)
            return
        age_s = time.monotonic() - self._first_seen.setdefault(metadata["uid"], time.monotonic())
        place = (metadata["namespace"], metadata["name"])
        ready = age_s >= self.starting_s and place not in self._unready
        status = pod_status.next_status(pod, ready=ready, now=datetime.now(UTC))
        if status is None:
            return
        with _others_may_be_quicker():
            self._core.patch_namespaced_pod_status(
                place[1], place[0], {"metadata": {"uid": metadata["uid"]}, "status": status}
            )


def _pods_of(core: k8s.CoreV1Api, node: str) -> list[dict[str, Any]]:
    response = core.list_pod_for_all_namespaces(
        field_selector=f"spec.nodeName={node}", _preload_content=False
    )
    return json.loads(response.data)["items"]


def _remove(core: k8s.CoreV1Api, pod: dict[str, Any]) -> None:
    """Removes a pod at once; never another one that has taken its name."""
    metadata = pod["metadata"]
    now = k8s.V1DeleteOptions(grace_period_seconds=0, preconditions=k8s.V1Preconditions(uid=metadata["uid"]))
    with _others_may_be_quicker():
        core.delete_namespaced_pod(metadata["name"], metadata["namespace"], body=now)


@contextlib.contextmanager
def _others_may_be_quicker() -> Iterator[None]:
    """The pod may be gone by now, or be another one of the same name."""
    try:
        yield
    except ApiException as error:
        if error.status not in {GONE, CONFLICT}:
            raise


def _node_status(name: str, gpus: int) -> dict[str, Any]:
    resources = {
        "cpu": "192",
        "memory": "2Ti",
        "ephemeral-storage": "4Ti",
        "pods": "110",
        "nvidia.com/gpu": str(gpus),
    }
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    states = {"Ready": "True", "MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"}
    conditions = [
        {
            "type": kind,
            "status": status,
            "reason": "PlayedByTests",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        for kind, status in states.items()
    ]
    addresses = [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": "192.0.2.1"}]
    return {
        "capacity": resources,
        "allocatable": resources,
        "conditions": conditions,
        "addresses": addresses,
    }

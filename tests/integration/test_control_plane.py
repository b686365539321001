"""The control plane that the other integration tests stand on does what a real one does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from controlplane.cluster import CommandError
from controlplane.pins import read_pins

if TYPE_CHECKING:
    from collections.abc import Callable

    from controlplane.cluster import Cluster
    from controlplane.node import FakeKubelet, GpuNode

IMAGE = "registry.invalid/engine:1"


def eventually(check: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.1)


def stateful_set(replicas: int = 2, gpus: int = 1) -> dict:
    container = {"name": "engine", "image": IMAGE, "resources": {"limits": {"nvidia.com/gpu": gpus}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "pool"},
        "spec": {
            "replicas": replicas,
            "serviceName": "pool",
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": "pool"}},
            "template": {"metadata": {"labels": {"app": "pool"}}, "spec": {"containers": [container]}},
        },
    }


def ready_replicas(cluster: Cluster, namespace: str) -> int:
    return cluster.get("statefulset", "pool", "-n", namespace)["status"].get("readyReplicas", 0)


def pods(cluster: Cluster, namespace: str) -> list[dict]:
    return cluster.get("pods", "-n", namespace)["items"]


def test_serves_the_pinned_version(cluster: Cluster):
    if cluster.existing:
        pytest.skip("an existing cluster has its own version")
    assert read_pins().kubernetes in cluster.kubectl("get", "--raw", "/version")


@pytest.mark.usefixtures("kubelet")
def test_stateful_set_gets_ready_pods_on_the_gpu_node(cluster: Cluster, namespace: str, gpu_node: GpuNode):
    cluster.apply(stateful_set(), namespace=namespace)
    eventually(lambda: ready_replicas(cluster, namespace) == 2)
    assert {pod["spec"]["nodeName"] for pod in pods(cluster, namespace)} == {gpu_node.name}


def test_pods_are_not_ready_before_their_engine_has_started(
    cluster: Cluster, namespace: str, kubelet: FakeKubelet
):
    kubelet.starting_s = 2.0
    start = time.monotonic()
    cluster.apply(stateful_set(replicas=1), namespace=namespace)
    eventually(lambda: ready_replicas(cluster, namespace) == 1)
    assert time.monotonic() - start >= 2.0


def test_a_failing_probe_makes_a_pod_unready(cluster: Cluster, namespace: str, kubelet: FakeKubelet):
    cluster.apply(stateful_set(), namespace=namespace)
    eventually(lambda: ready_replicas(cluster, namespace) == 2)
    with kubelet.unready(namespace, "pool-1"):
        eventually(lambda: ready_replicas(cluster, namespace) == 1)
    eventually(lambda: ready_replicas(cluster, namespace) == 2)


@pytest.mark.usefixtures("kubelet")
def test_deleted_pods_go_and_come_again(cluster: Cluster, namespace: str):
    cluster.apply(stateful_set(replicas=1), namespace=namespace)
    eventually(lambda: ready_replicas(cluster, namespace) == 1)
    before = pods(cluster, namespace)[0]["metadata"]["uid"]
    cluster.kubectl("delete", "pod", "pool-0", "-n", namespace, "--wait=false")
    eventually(lambda: [pod["metadata"]["uid"] for pod in pods(cluster, namespace)] not in ([], [before]))
    eventually(lambda: ready_replicas(cluster, namespace) == 1)


@pytest.mark.usefixtures("kubelet")
def test_pods_without_a_free_gpu_stay_pending(cluster: Cluster, namespace: str):
    cluster.apply(stateful_set(replicas=3, gpus=4), namespace=namespace)
    eventually(lambda: ready_replicas(cluster, namespace) == 2)
    waiting = [pod for pod in pods(cluster, namespace) if "nodeName" not in pod["spec"]]
    assert len(waiting) == 1
    assert waiting[0]["status"]["conditions"][0]["reason"] == "Unschedulable"


@pytest.mark.usefixtures("kubelet")
def test_owned_objects_go_with_their_owner(cluster: Cluster, namespace: str):
    cluster.apply(stateful_set(replicas=1), namespace=namespace)
    eventually(lambda: ready_replicas(cluster, namespace) == 1)
    cluster.kubectl("delete", "statefulset", "pool", "-n", namespace, "--wait=false")
    eventually(lambda: not pods(cluster, namespace))


def test_a_service_account_may_do_nothing_that_it_is_not_allowed(cluster: Cluster, namespace: str, tmp_path):
    cluster.kubectl("create", "serviceaccount", "someone", "-n", namespace)
    path = cluster.service_account_kubeconfig(tmp_path / "someone.kubeconfig", namespace, "someone")
    as_someone = [f"--kubeconfig={path}", "get", "configmaps"]
    with pytest.raises(CommandError, match="Forbidden"):
        cluster.kubectl(*as_someone)
    rule = ["--verb=list", "--resource=configmaps", "-n", namespace]
    cluster.kubectl("create", "role", "reader", *rule)
    bound = ["--role=reader", f"--serviceaccount={namespace}:someone", "-n", namespace]
    cluster.kubectl("create", "rolebinding", "reader", *bound)
    eventually(lambda: "kube-root-ca.crt" in cluster.kubectl(*as_someone))

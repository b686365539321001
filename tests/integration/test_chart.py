"""The Helm chart on a real API server: it installs, and its operator may do what it must and nothing more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from controlplane.cluster import CommandError, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from controlplane.cluster import Cluster
    from controlplane.node import GpuNode

CHART = Path(__file__).resolve().parents[2] / "charts" / "adaptwin"

ALLOWED = [
    "watch adapterdeployments.adaptwin.io",
    "patch adapterdeployments.adaptwin.io --subresource=status",
    "create statefulsets.apps",
    "patch configmaps",
    "delete statefulsets.apps",
    "patch services",
    "create poddisruptionbudgets.policy",
    "watch pods",
    "create events.events.k8s.io",
    "create leases.coordination.k8s.io",
]
FORBIDDEN = [
    "get secrets",
    "list secrets",
    "create pods",
    "delete pods",
    "list services",
    "delete services",
    "delete poddisruptionbudgets.policy",
    "create pods --subresource=exec",
    "patch adapterdeployments.adaptwin.io",
    "delete adapterdeployments.adaptwin.io",
    "get nodes --all-namespaces",
    "create roles.rbac.authorization.k8s.io",
    "create serviceaccounts --subresource=token",
    "delete customresourcedefinitions.apiextensions.k8s.io --all-namespaces",
    "* *",
]


@pytest.fixture
def may(
    cluster: Cluster, namespace: str, operator_kubeconfig: Callable[[str], Path]
) -> Callable[[str], bool]:
    path = operator_kubeconfig(namespace)

    def ask(question: str) -> bool:
        try:
            cluster.kubectl(f"--kubeconfig={path}", "auth", "can-i", "--quiet", *question.split())
        except CommandError:
            return False
        return True

    return ask


def test_the_operator_may_do_what_it_must(may: Callable[[str], bool]):
    assert [question for question in ALLOWED if not may(question)] == []


def test_the_operator_may_do_nothing_more(may: Callable[[str], bool]):
    assert [question for question in FORBIDDEN if may(question)] == []


@pytest.mark.usefixtures("kubelet")
def test_the_chart_installs_becomes_ready_and_goes(
    cluster: Cluster, namespace: str, helm: Path, gpu_node: GpuNode
):
    connection = [f"--kubeconfig={cluster.kubeconfig}", f"--namespace={namespace}"]
    here = rf"--set-string=operator.nodeSelector.kubernetes\.io/hostname={gpu_node.name}"
    flags = [*connection, "--set=crds.enabled=false", here, "--wait", "--timeout=150s"]
    run([str(helm), "install", "adaptwin", str(CHART), *flags])
    deployment = cluster.get("deployment", "-n", namespace)["items"][0]
    assert deployment["status"]["readyReplicas"] == deployment["spec"]["replicas"]
    run([str(helm), "uninstall", "adaptwin", *connection, "--wait", "--timeout=150s"])
    assert (
        cluster.get("deployment,serviceaccount", "-n", namespace, "-l", "app.kubernetes.io/name=adaptwin")[
            "items"
        ]
        == []
    )

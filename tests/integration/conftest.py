"""A real API server with a GPU node made by hand; see docs/testing.md."""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from controlplane import chart
from controlplane.node import FakeKubelet, GpuNode
from controlplane.session import running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kubernetes.client import ApiClient

    from controlplane.cluster import Cluster

REPOSITORY = Path(__file__).resolve().parents[2]
CRDS = REPOSITORY / "crds"
CHART = REPOSITORY / "charts" / "adaptwin"
GPU_LABELS = {"nvidia.com/gpu.product": "NVIDIA-H100-64GB", "nvidia.com/gpu.memory": "65247"}

FOLDER = pytest.StashKey["Path"]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says where the control plane's logs are, when something failed."""
    folder = config.stash.get(FOLDER, None)
    failed = {"failed", "error"} & terminalreporter.stats.keys()
    if failed and folder and (folder / "log").is_dir():
        terminalreporter.line(f"logs of the control plane: {folder / 'log'}")


class MakeGpuNode(Protocol):
    def __call__(self, gpus: int = 8) -> GpuNode: ...


class OperatorKubeconfig(Protocol):
    def __call__(self, namespace: str, *values: str) -> Path: ...


@pytest.fixture(scope="session")
def cluster(
    programs: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Cluster]:
    """The cluster, with the CRDs of crds/ established."""
    folder = tmp_path_factory.mktemp("control-plane")
    pytestconfig.stash[FOLDER] = folder
    with running(programs, os.environ, folder) as cluster:
        cluster.apply_files(CRDS)
        # kubectl fails on objects that have no conditions yet, instead of waiting for them.
        for what in ("jsonpath={.status.conditions}", "condition=Established"):
            cluster.kubectl("wait", f"--for={what}", "--timeout=60s", "-f", str(CRDS))
        yield cluster


@pytest.fixture(scope="session")
def admin(cluster: Cluster) -> Iterator[ApiClient]:
    """The admin's client, for arranging and looking; the operator never gets it."""
    with cluster.client() as client:
        yield client


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace, emptied of pods at once afterwards, and gone soon after."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("wait", f"namespace/{name}", "--for=create", "--timeout=30s")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
    cluster.kubectl("delete", "pods", "--all", "-n", name, "--force", "--grace-period=0", "--wait=false")


@pytest.fixture
def make_gpu_node(admin: ApiClient) -> Iterator[MakeGpuNode]:
    """Makes Ready nodes with GPUs; they go with their pods after the test."""
    with ExitStack() as stack:

        def make(gpus: int = 8) -> GpuNode:
            name = f"gpu-{secrets.token_hex(4)}"
            return stack.enter_context(GpuNode(admin, name, gpus=gpus, labels=GPU_LABELS))

        yield make


@pytest.fixture
def gpu_node(make_gpu_node: MakeGpuNode) -> GpuNode:
    """A Ready node with eight GPUs. Pods are bound to it, and stay Pending without ``kubelet``."""
    return make_gpu_node()


@pytest.fixture
def kubelet(admin: ApiClient, gpu_node: GpuNode) -> Iterator[FakeKubelet]:
    """Plays the kubelet of ``gpu_node``: pods become ready, after ``kubelet.starting_s`` where set."""
    with FakeKubelet(admin, gpu_node.name) as kubelet:
        yield kubelet


@pytest.fixture
def operator_kubeconfig(cluster: Cluster, helm: Path, tmp_path: Path) -> Iterator[OperatorKubeconfig]:
    """Installs the chart's ServiceAccount and RBAC in a namespace; gives its kubeconfig, never the admin's.

    The function takes the namespace and ``--set`` values for the chart.
    """
    with ExitStack() as stack:

        def install(namespace: str, *values: str) -> Path:
            objects = chart.render(helm, CHART, "adaptwin", namespace, values)
            identity = chart.identity(objects)
            cluster.apply(*identity, namespace=namespace)
            stack.callback(cluster.delete, identity, namespace)
            account = chart.service_account(objects)
            return cluster.service_account_kubeconfig(tmp_path / "operator.kubeconfig", namespace, account)

        yield install

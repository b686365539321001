"""The Job that makes a dataset in shards, put before a real API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from adapter_predictor.training.job import DatasetJob
from adapter_twin.profile import load_profile

if TYPE_CHECKING:
    from controlplane.cluster import Cluster


@pytest.fixture
def job() -> DatasetJob:
    profile = load_profile("llama-3.1-8b-instruct-h100-64gb")
    return DatasetJob(profile, samples=1000, seed=0, horizon_s=3600.0, shards=8, parallelism=4)


def test_every_object_is_what_the_api_server_takes(cluster: Cluster, namespace: str, job: DatasetJob) -> None:
    for manifest in (job.to_yaml(), job.merge_yaml()):
        said = cluster.kubectl(
            "apply", "--dry-run=server", "--validate=strict", "-n", namespace, "-f", "-", stdin=manifest
        )
        assert "Warning" not in said
        assert said.count("(server dry run)") == manifest.count("apiVersion:")


def test_each_pod_knows_its_shard(cluster: Cluster, namespace: str, job: DatasetJob) -> None:
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=job.to_yaml())
    selector = "batch.kubernetes.io/job-name=adaptwin-dataset"
    cluster.kubectl("wait", "--for=create", "pods", "-l", selector, "-n", namespace, "--timeout=60s")
    indices = set()
    for pod in cluster.get("pods", "-l", selector, "-n", namespace)["items"]:
        container = pod["spec"]["containers"][0]
        assert any(variable["name"] == "JOB_COMPLETION_INDEX" for variable in container["env"])
        indices.add(pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"])
    assert indices <= {str(index) for index in range(job.shards)}
    assert indices

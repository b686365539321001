"""What the fake kubelet reports."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from controlplane.pod_status import next_status

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def pod(status: dict | None = None, **spec: list) -> dict:
    containers = {"containers": [{"name": "engine", "image": "vllm:1"}], **spec}
    return {"metadata": {"uid": "1"}, "spec": containers, "status": status or {"phase": "Pending"}}


def conditions(status: dict) -> dict[str, str]:
    return {each["type"]: each["status"] for each in status["conditions"]}


def test_a_pending_pod_runs():
    status = next_status(pod(), ready=True, now=NOW)
    assert status["phase"] == "Running"
    assert conditions(status)["Ready"] == conditions(status)["ContainersReady"] == "True"
    assert status["containerStatuses"][0]["ready"]
    assert status["startTime"] == "2026-01-02T03:04:05Z"


def test_a_starting_pod_runs_but_is_not_ready():
    status = next_status(pod(), ready=False, now=NOW)
    assert status["phase"] == "Running"
    assert conditions(status)["Ready"] == "False"
    assert not status["containerStatuses"][0]["started"]


@pytest.mark.parametrize("ready", [True, False])
def test_what_is_reported_already_is_not_reported_again(ready: bool):
    status = next_status(pod(), ready=ready, now=NOW)
    assert next_status(pod(status), ready=ready, now=NOW) is None
    assert next_status(pod(status), ready=not ready, now=NOW) is not None


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_an_ended_pod_stays_as_it_is(phase: str):
    assert next_status(pod({"phase": phase}), ready=True, now=NOW) is None


def test_sidecars_run_and_other_init_containers_have_ended():
    init = [
        {"name": "fetch", "image": "a"},
        {"name": "agent", "image": "b", "restartPolicy": "Always"},
    ]
    fetch, agent = next_status(pod(initContainers=init), ready=True, now=NOW)["initContainerStatuses"]
    assert "terminated" in fetch["state"]
    assert "running" in agent["state"]


def test_the_start_time_is_kept():
    began = "2026-01-01T00:00:00Z"
    status = next_status(pod({"phase": "Running", "startTime": began}), ready=True, now=NOW)
    assert status["startTime"] == began

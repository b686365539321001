"""A plan that the twin rejects is never applied, however sure the predictor was of it."""

import sys
from pathlib import Path

import pytest

OPTIMIST = (sys.executable, str(Path(__file__).with_name("optimistic_operator.py")))
TOO_MUCH = {"adapters": 64, "rate": "2", "scaling": {"maxReplicas": 1}}


@pytest.fixture
def optimist(start_operator):
    return start_operator(program=OPTIMIST)


def test_the_twin_overrules_a_wrong_predictor(kubernetes, optimist, make_deployment):
    kubernetes.apply(make_deployment("llama", **TOO_MUCH))
    kubernetes.eventually(lambda: kubernetes.condition("llama", "Verified")[0], "False")
    status = kubernetes.get("adep", "llama")["status"]
    assert status["verdict"]["status"] == "Rejected"
    assert status["verdict"]["planHash"], "there was a plan, and the twin ran it"
    assert status["verdict"]["servedFractionPercent"] < 95
    assert status["prediction"]["servedFractionPercent"] == 100, "the predictor was sure of it"
    assert "planHash" not in status
    for kind in ("statefulsets", "configmaps", "services", "pods"):
        assert kubernetes.list(kind, "llama") == []
    [line] = optimist.decisions(kubernetes.namespace)
    assert (line["action"], line["verdict"]["status"]) == ("Reject", "Rejected")


def test_what_runs_is_left_alone_when_the_twin_overrules(kubernetes, kubelet, optimist, make_deployment):
    kubernetes.apply(make_deployment("llama"))
    kubernetes.eventually(lambda: kubernetes.condition("llama", "Ready"), ("True", "AllReplicasReady"))
    before = [item["metadata"]["resourceVersion"] for item in kubernetes.list("statefulsets", "llama")]
    kubernetes.apply(make_deployment("llama", **TOO_MUCH))
    kubernetes.eventually(lambda: kubernetes.condition("llama", "Verified")[0], "False")
    after = [item["metadata"]["resourceVersion"] for item in kubernetes.list("statefulsets", "llama")]
    assert after == before
    assert kubernetes.condition("llama", "Ready") == ("True", "AllReplicasReady")

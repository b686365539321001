"""Deletion, restarts, failover, and objects that do not wait for one another."""

import socket
import time
import urllib.request

import pytest

OWNED = ("statefulsets", "configmaps", "services", "poddisruptionbudgets", "pods")


def everything(kubernetes, name):
    return {
        (kind, item["metadata"]["name"]): (
            item["metadata"]["uid"],
            item["metadata"]["resourceVersion"],
            item["metadata"].get("generation"),
        )
        for kind in (*OWNED, "adep")
        for item in kubernetes.list(kind, None if kind == "adep" else name)
        if item["metadata"]["name"].startswith(name)
    }


@pytest.fixture
def own_operator(start_operator):
    """An operator of this test alone, which may end."""
    return start_operator()


@pytest.fixture
def ready(kubernetes, kubelet, own_operator, make_deployment):
    kubernetes.apply(make_deployment("llama"))
    kubernetes.eventually(lambda: kubernetes.condition("llama", "Ready"), ("True", "AllReplicasReady"))
    return kubernetes


def gone(kubernetes, name):
    return not any(kubernetes.list(kind, name) for kind in OWNED)


def test_deletion_leaves_nothing_behind(ready):
    ready.delete("adep", "llama")
    ready.eventually(lambda: gone(ready, "llama"))
    assert ready.list("adep") == []


def test_deletion_leaves_nothing_behind_when_no_operator_runs(ready, own_operator):
    """Nobody has to give permission: there are no finalizers, and the garbage collector knows the owners."""
    assert own_operator.stop() == 0
    ready.delete("adep", "llama")
    ready.eventually(lambda: gone(ready, "llama"))
    assert ready.list("adep") == []


def test_a_restart_changes_nothing(ready, own_operator, start_operator):
    ready.eventually(lambda: ready.condition("llama", "Progressing"), ("False", "RolledOut"))
    before = everything(ready, "llama")
    assert own_operator.stop() == 0
    second = start_operator("--resync=1")
    second.wait_until("leading")
    time.sleep(5.0)
    assert everything(ready, "llama") == before
    assert second.decisions(ready.namespace) == []


def test_a_restart_repeats_no_rejection(kubernetes, start_operator, make_deployment):
    first = start_operator()
    kubernetes.apply(make_deployment("llama", engine={"args": ["--gpu-memory-utilization=0.2"]}))
    kubernetes.eventually(lambda: kubernetes.condition("llama", "Planned"), ("False", "OutOfMemory"))
    before = kubernetes.get("adep", "llama")
    assert first.stop() == 0
    second = start_operator("--resync=1")
    second.wait_until("leading")
    time.sleep(5.0)
    assert kubernetes.get("adep", "llama") == before
    assert len(kubernetes.events("llama")) == 1


def test_what_is_deleted_by_mistake_comes_back(ready):
    [stateful_set] = ready.list("statefulsets", "llama")
    ready.delete("statefulset", stateful_set["metadata"]["name"])
    ready.delete("configmap", f"{stateful_set['metadata']['name']}-assignment")

    def back():
        uids = [item["metadata"]["uid"] for item in ready.list("statefulsets", "llama")]
        names = {item["metadata"]["name"] for item in ready.list("configmaps", "llama")}
        return uids not in ([], [stateful_set["metadata"]["uid"]]) and any("assignment" in n for n in names)

    ready.eventually(back)


def test_a_second_operator_takes_over(kubernetes, start_operator, make_deployment):
    first = start_operator()
    first.wait_until("leading")
    second = start_operator()
    assert not second.leads()
    assert first.stop() == 0
    kubernetes.eventually(second.leads, within_s=10.0)
    kubernetes.apply(make_deployment("llama"))
    kubernetes.eventually(lambda: kubernetes.condition("llama", "Verified"), ("True", "TwinVerified"))


def test_one_object_in_trouble_does_not_hold_up_another(kubernetes, start_operator, make_deployment):
    """An object whose objects are refused (here: by a quota) is tried again and again; others are served."""
    operator = start_operator()
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "one-service"},
        "spec": {"hard": {"count/statefulsets.apps": "1"}},
    }
    kubernetes.apply(quota)
    kubernetes.eventually(
        lambda: kubernetes.get("resourcequota", "one-service").get("status", {}).get("used")
    )
    kubernetes.apply(make_deployment("first"))
    kubernetes.eventually(lambda: kubernetes.list("statefulsets", "first"))
    kubernetes.apply(make_deployment("refused"))
    kubernetes.eventually(lambda: kubernetes.condition("refused", "Degraded"), ("True", "ApplyFailed"))
    assert "quota" in kubernetes.conditions("refused")["Degraded"]["message"]
    kubernetes.apply(make_deployment("first", adapters=6))
    kubernetes.eventually(lambda: kubernetes.get("adep", "first")["status"]["adapters"], 6)
    kubernetes.delete("resourcequota", "one-service")
    kubernetes.eventually(lambda: kubernetes.list("statefulsets", "refused"))
    kubernetes.eventually(lambda: kubernetes.condition("refused", "Degraded"), ("False", "AsExpected"))
    assert operator.process.poll() is None


def test_planning_one_object_does_not_hold_up_another(kubernetes, own_operator, make_deployment):
    long = {"horizon": "24h", "seeds": 20, "timeout": "1h"}
    kubernetes.apply(make_deployment("thorough", adapters=200, rate="0.1", verification=long))
    kubernetes.eventually(lambda: kubernetes.condition("thorough", "Verified"), ("Unknown", "Verifying"))
    kubernetes.apply(make_deployment("quick"))
    kubernetes.eventually(lambda: kubernetes.condition("quick", "Verified"), ("True", "TwinVerified"))
    assert kubernetes.condition("thorough", "Verified") == ("Unknown", "Verifying")
    assert own_operator.stop() == 0, "it does not wait for a decision that nobody will hear"


def test_an_edit_during_a_decision_is_what_counts(kubernetes, own_operator, make_deployment):
    long = {"horizon": "24h", "seeds": 1, "timeout": "1h"}
    kubernetes.apply(make_deployment("llama", adapters=200, rate="0.1", verification=long))
    kubernetes.eventually(lambda: kubernetes.condition("llama", "Verified"), ("Unknown", "Verifying"))
    kubernetes.apply(make_deployment("llama", adapters=3))
    kubernetes.eventually(lambda: kubernetes.condition("llama", "Verified"), ("True", "TwinVerified"))
    status = kubernetes.get("adep", "llama")["status"]
    assert (status["adapters"], status["plan"]["generation"]) == (3, 1), (
        "the first plan never came into force"
    )
    assert own_operator.process.poll() is None


def test_it_serves_liveness_and_metrics(kubernetes, start_operator, make_deployment):
    liveness, metrics = free_port(), free_port()
    operator = start_operator(
        "--bind-address=127.0.0.1", f"--liveness-port={liveness}", f"--metrics-port={metrics}"
    )
    kubernetes.apply(make_deployment("llama"))
    kubernetes.eventually(lambda: kubernetes.condition("llama", "Verified"), ("True", "TwinVerified"))
    assert fetch(f"http://127.0.0.1:{liveness}/healthz")
    text = kubernetes.eventually(lambda: with_object(fetch(f"http://127.0.0.1:{metrics}/metrics")))
    labels = f'name="llama",namespace="{kubernetes.namespace}"'
    assert f"adaptwin_adapters{{{labels}}} 4.0" in text
    assert f"adaptwin_planned_replicas{{{labels}}} 1.0" in text
    assert 'adaptwin_decisions_total{reason="",verdict="Verified"} 1.0' in text
    assert "adaptwin_leader 1.0" in text
    assert operator.process.poll() is None


def with_object(text):
    return text if "adaptwin_adapters{" in text else ""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def fetch(url):
    with urllib.request.urlopen(url, timeout=5.0) as answer:
        return answer.read().decode()

"""Deletion, restarts, failover, and objects that do not wait for one another."""

import time

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

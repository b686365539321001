"""Edits of a spec: new verified plans roll out, make before break; what cannot be met changes nothing."""

import json
import time

import pytest

VERIFIED = ("True", "TwinVerified")


@pytest.fixture
def ready(kubernetes, kubelet, operator, make_deployment):
    """A small object that is served by one replica."""
    kubernetes.apply(make_deployment("llama"))
    kubernetes.eventually(lambda: kubernetes.condition("llama", "Ready"), ("True", "AllReplicasReady"))
    return kubernetes


def pools(kubernetes):
    return {
        item["metadata"]["name"]: item["spec"]["replicas"]
        for item in kubernetes.list("statefulsets", "llama")
    }


def pods(kubernetes):
    """Names of the pods that run, and whether each is ready."""
    return {
        pod["metadata"]["name"]: any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in pod["status"].get("conditions", ())
        )
        for pod in kubernetes.list("pods", "llama")
    }


def runs(kubernetes):
    """Everything that runs, as the API server stores it."""
    return {
        (kind, item["metadata"]["name"]): (item["metadata"]["uid"], item["metadata"]["resourceVersion"])
        for kind in ("statefulsets", "configmaps", "services")
        for item in kubernetes.list(kind, "llama")
    }


@pytest.fixture
def slow_starts(kubelet):
    """Engines that take their time, so that a rollout can be watched."""
    kubelet.starting_s = 3.0


def test_an_engine_argument_leads_to_a_new_pool_before_the_old_one_goes(slow_starts, ready):
    [old] = pools(ready)
    ready.patch("llama", {"spec": {"engine": {"args": ["--gpu-memory-utilization=0.85"]}}})
    ready.eventually(lambda: len(pools(ready)), 2)
    [new] = pools(ready).keys() - {old}
    while not pods(ready).get(f"{new}-0"):
        assert pods(ready)[f"{old}-0"], "the old replica serves until the new one is ready"
    ready.eventually(lambda: pools(ready), {new: 1})
    ready.eventually(lambda: ready.condition("llama", "Progressing"), ("False", "RolledOut"))
    [container] = ready.get("statefulset", new)["spec"]["template"]["spec"]["containers"]
    assert "--gpu-memory-utilization=0.85" in container["args"]
    assert "--gpu-memory-utilization=0.9" not in container["args"]
    assignments = [
        item["metadata"]["name"]
        for item in ready.list("configmaps", "llama")
        if item["metadata"]["name"].endswith("-assignment")
    ]
    assert assignments == [f"{new}-assignment"], "the old pool's assignment has gone with it"
    status = ready.get("adep", "llama")["status"]
    assert status["plan"]["generation"] == 2
    assert [entry["action"] for entry in status["history"]] == ["Apply", "Apply"]


def test_without_surge_the_old_pool_makes_room(ready):
    [old] = pools(ready)
    most = []

    def only_the_new_one():
        most.append(len(pods(ready)))
        return set(pools(ready)) - {old} and old not in pools(ready)

    ready.patch(
        "llama",
        {"spec": {"rollout": {"maxSurgeGPUs": 0}, "engine": {"args": ["--gpu-memory-utilization=0.85"]}}},
    )
    ready.eventually(only_the_new_one)
    ready.eventually(lambda: ready.condition("llama", "Ready"), ("True", "AllReplicasReady"))
    assert max(most) == 1, "never more than one GPU"


def test_another_adapter_changes_only_assignments(ready, make_deployment):
    [name] = pools(ready)
    before = ready.get("statefulset", name)
    ready.apply(make_deployment("llama", adapters=5))
    ready.eventually(lambda: ready.get("adep", "llama")["status"]["adapters"], 5)
    ready.eventually(lambda: ready.condition("llama", "Verified"), VERIFIED)
    after = ready.get("statefulset", name)
    assert pools(ready) == {name: 1}
    assert after["metadata"]["generation"] == before["metadata"]["generation"], "no engine is touched"
    assignment = json.loads(ready.get("configmap", f"{name}-assignment")["data"]["0"])
    assert (assignment["generation"], len(assignment["adapters"])) == (2, 5)


def test_more_replicas_are_added_to_the_pool_and_go_again(ready):
    [name] = pools(ready)
    uid = ready.get("pod", f"{name}-0")["metadata"]["uid"]
    ready.patch("llama", {"spec": {"scaling": {"minReplicas": 2}}})
    ready.eventually(lambda: pools(ready), {name: 2})
    ready.eventually(lambda: ready.condition("llama", "Ready"), ("True", "AllReplicasReady"))
    ready.patch("llama", {"spec": {"scaling": {"minReplicas": 1}}})
    ready.eventually(lambda: pools(ready), {name: 1})
    ready.eventually(lambda: list(pods(ready)), [f"{name}-0"])
    assert ready.get("pod", f"{name}-0")["metadata"]["uid"] == uid, "the first replica was never restarted"


def test_the_only_replica_that_serves_is_not_taken_away(ready, kubelet):
    """A pool loses its highest ordinals first; those that stay must be ready before."""
    [name] = pools(ready)
    ready.patch("llama", {"spec": {"scaling": {"minReplicas": 2}}})
    ready.eventually(lambda: ready.get("adep", "llama")["status"].get("readyReplicas"), 2)
    with kubelet.unready(ready.namespace, f"{name}-0"):
        ready.eventually(lambda: ready.get("adep", "llama")["status"].get("readyReplicas"), 1)
        ready.patch("llama", {"spec": {"scaling": {"minReplicas": 1}}})
        ready.eventually(lambda: ready.get("adep", "llama")["status"]["replicas"], 1)
        time.sleep(2.0)
        assert pools(ready) == {name: 2}
    ready.eventually(lambda: pools(ready), {name: 1})


IMPOSSIBLE = {
    "more than maxReplicas can serve": (
        {"scaling": {"maxReplicas": 1}, "traffic": {"defaultRate": "40"}},
        "ObjectivesUnreachable",
        "maxReplicas",
    ),
    "more than fits in memory": (
        {"engine": {"args": ["--gpu-memory-utilization=0.2"]}},
        "OutOfMemory",
        "memory",
    ),
}


@pytest.mark.parametrize("why", IMPOSSIBLE)
def test_what_cannot_be_met_leaves_alone_what_runs(ready, make_deployment, why):
    change, reason, hint = IMPOSSIBLE[why]
    before = runs(ready)
    plan = ready.get("adep", "llama")["status"]["planHash"]
    item = make_deployment("llama", **change)
    for adapter in item["spec"]["adapters"] if "traffic" in change else ():
        del adapter["rate"]
    ready.cluster.kubectl("replace", "-n", ready.namespace, "-f", "-", stdin=json.dumps(item))
    ready.eventually(lambda: ready.condition("llama", "Planned"), ("False", reason))
    conditions = ready.conditions("llama")
    assert hint in conditions["Planned"]["message"]
    assert (conditions["Verified"]["status"], conditions["Verified"]["reason"]) == ("False", reason)
    assert (conditions["Ready"]["status"], conditions["Degraded"]["reason"]) == ("True", "KeepingLastPlan")
    assert ready.get("adep", "llama")["status"]["planHash"] == plan
    assert runs(ready) == before
    assert ("Warning", "PlanRejected") in [(e["type"], e["reason"]) for e in ready.events("llama")]


def test_an_impossible_first_spec_starts_nothing(kubernetes, operator, make_deployment):
    kubernetes.apply(make_deployment("llama", engine={"args": ["--gpu-memory-utilization=0.2"]}))
    kubernetes.eventually(lambda: kubernetes.condition("llama", "Planned"), ("False", "OutOfMemory"))
    assert kubernetes.condition("llama", "Ready") == ("False", "NoPlan")
    assert runs(kubernetes) == {}


def test_a_spec_that_only_the_operator_can_fault_is_named_by_its_field(ready):
    before = runs(ready)
    ready.patch("llama", {"spec": {"profile": {"name": "no-such-profile"}}})
    ready.eventually(lambda: ready.condition("llama", "Planned"), ("False", "InvalidSpec"))
    message = ready.conditions("llama")["Planned"]["message"]
    assert "no-such-profile" in message
    assert "llama-3.1-8b-instruct-h100-64gb" in message, "it says what is allowed"
    assert runs(ready) == before
    ready.patch("llama", {"spec": {"profile": {"name": "llama-3.1-8b-instruct-h100-64gb"}}})
    ready.eventually(lambda: ready.condition("llama", "Planned"), ("True", "PlanFound"))


def test_paused_and_recommending_objects_are_left_alone(ready):
    before = runs(ready)
    ready.patch("llama", {"spec": {"scaling": {"mode": "Recommend", "minReplicas": 2}}})
    ready.eventually(lambda: ready.condition("llama", "Verified"), VERIFIED)
    ready.eventually(lambda: "not applied" in ready.conditions("llama")["Planned"]["message"])
    assert runs(ready) == before
    ready.patch("llama", {"spec": {"scaling": {"mode": "Paused"}}})
    ready.eventually(lambda: ready.condition("llama", "Planned"), ("Unknown", "Paused"))
    assert runs(ready) == before
    ready.patch("llama", {"spec": {"scaling": {"mode": "Auto"}}})
    ready.eventually(lambda: list(pools(ready).values()), [2])


def test_adapters_and_profile_may_come_from_config_maps(kubernetes, operator, make_deployment):
    more = [{"name": "listed", "rank": 8, "rate": "0.05", "source": {"path": "/adapters/listed"}}]
    kubernetes.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "more"},
            "data": {"list.yaml": json.dumps(more)},
        }
    )
    reference = {"configMap": {"name": "more", "key": "list.yaml"}}
    kubernetes.apply(make_deployment("llama", adapters=2, adaptersFrom=[reference]))
    kubernetes.eventually(lambda: kubernetes.condition("llama", "Verified"), VERIFIED)
    assert kubernetes.get("adep", "llama")["status"]["adapters"] == 3
    more.append(more[0] | {"name": "another"})
    patch = json.dumps({"data": {"list.yaml": json.dumps(more)}})
    kubernetes.cluster.kubectl("patch", "configmap", "more", "-n", kubernetes.namespace, "-p", patch)
    kubernetes.eventually(lambda: kubernetes.get("adep", "llama")["status"]["adapters"], 4)

"""From `kubectl apply` to a verified plan and the objects that serve it."""

import json
import sys
import time
from pathlib import Path

import pytest
import yaml

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture
def applied(kubernetes, operator, make_deployment):
    """A small object, and what became of it."""
    kubernetes.apply(make_deployment("llama", adapters=4))
    kubernetes.eventually(lambda: kubernetes.condition("llama", "Verified"), ("True", "TwinVerified"))
    kubernetes.eventually(lambda: kubernetes.list("statefulsets", "llama"))
    return kubernetes


def test_status_tells_of_a_verified_plan(applied):
    item = applied.get("adep", "llama")
    status, generation = item["status"], item["metadata"]["generation"]
    assert (status["adapters"], status["replicas"], status["gpus"]) == (4, 1, 1)
    assert status["verdict"]["status"] == "Verified"
    assert status["verdict"]["planHash"] == status["planHash"]
    assert status["verdict"]["servedFractionPercent"] >= 95
    assert status["prediction"]["tokensPerSecond"] > 0
    assert status["lowerBound"]["gpus"] == 1
    assert status["explanation"]
    assert [entry["action"] for entry in status["history"]] == ["Apply"]
    conditions = {condition["type"]: condition for condition in status["conditions"]}
    assert {type_: (c["status"], c["reason"]) for type_, c in conditions.items()} == {
        "Ready": ("False", "ReplicasNotReady"),
        "Planned": ("True", "PlanFound"),
        "Verified": ("True", "TwinVerified"),
        "Progressing": ("True", "RollingOut"),
        "TrafficObserved": ("True", "Declared"),
        "Degraded": ("False", "AsExpected"),
    }
    assert {c["observedGeneration"] for c in conditions.values()} == {generation}
    assert status["observedGeneration"] == generation


def test_the_object_itself_is_left_as_the_user_wrote_it(applied):
    metadata = applied.get("adep", "llama")["metadata"]
    assert "finalizers" not in metadata
    assert "annotations" not in metadata


def test_the_stateful_set_runs_vllm_as_planned(applied):
    pool = applied.get("adep", "llama")["status"]["pools"][0]
    stateful_set = applied.list("statefulsets", "llama")[0]
    assert stateful_set["metadata"]["name"] == f"llama-{pool['name']}"
    spec = stateful_set["spec"]
    assert (spec["replicas"], spec["podManagementPolicy"]) == (1, "Parallel")
    assert spec["updateStrategy"]["type"] == "OnDelete"
    container = spec["template"]["spec"]["containers"][0]
    assert container["image"] == "vllm/vllm-openai:v0.8.5"
    arguments = set(container["args"])
    assert {
        "--model=meta-llama/Llama-3.1-8B-Instruct",
        "--served-model-name=llama-3.1-8b-instruct",
        "--enable-lora",
        f"--max-loras={pool['maxLoras']}",
        f"--max-lora-rank={pool['maxLoraRank']}",
        "--max-cpu-loras=512",
        "--tensor-parallel-size=1",
    } <= arguments
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    for amounts in ("requests", "limits"):
        assert container["resources"][amounts]["nvidia.com/gpu"] == "1"


def test_plan_and_assignment_lie_in_config_maps(applied):
    status = applied.get("adep", "llama")["status"]
    plan = applied.get("configmap", f"llama-plan-{status['planHash']}")
    assert plan["immutable"] is True
    content = json.loads(plan["data"]["plan.json"])
    assert [pool["name"] for pool in content["pools"]] == [status["pools"][0]["name"]]
    assignment = applied.get("configmap", f"llama-{status['pools'][0]['name']}-assignment")
    assert assignment["data"].keys() == {"0"}
    replica = json.loads(assignment["data"]["0"])
    assert (replica["generation"], replica["plan"]) == (1, status["planHash"])
    assert [adapter["name"] for adapter in replica["adapters"]] == [f"tenant-{n:03}" for n in range(4)]
    assert {adapter["share"] for adapter in replica["adapters"]} == {1.0}
    assert replica["adapters"][0]["source"] == {"path": "/adapters/000"}


def test_everything_is_owned_by_the_object(applied):
    uid = applied.get("adep", "llama")["metadata"]["uid"]
    for kind in ("statefulsets", "configmaps", "services", "poddisruptionbudgets"):
        owned = applied.list(kind, "llama")
        assert owned, kind
        for item in owned:
            [owner] = item["metadata"]["ownerReferences"]
            assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (uid, True, True)


def test_people_are_told(applied, operator):
    events = applied.eventually(
        lambda: [(event["type"], event["reason"]) for event in applied.events("llama")],
        [("Normal", "PlanVerified"), ("Normal", "RollingOut")],
    )
    assert events
    [line] = operator.decisions(applied.namespace)
    status = applied.get("adep", "llama")["status"]
    assert (line["action"], line["plan"]) == ("Apply", status["planHash"])
    assert line["decision"] == status["history"][0]["decisionID"]


def test_kubectl_get_shows_the_columns(applied):
    header, row = applied.cluster.kubectl("get", "adep", "-n", applied.namespace).splitlines()
    assert header.split() == ["NAME", "MODEL", "ADAPTERS", "REPLICAS", "READY", "GPUS", "VERIFIED", "AGE"]
    assert row.split()[:7] == ["llama", "llama-3.1-8b-instruct", "4", "1", "0", "1", "True"]


def test_it_becomes_ready_with_its_pods(kubernetes, kubelet, operator, make_deployment):
    kubernetes.apply(make_deployment("llama"))
    kubernetes.eventually(lambda: kubernetes.condition("llama", "Ready"), ("True", "AllReplicasReady"))
    assert kubernetes.condition("llama", "Progressing") == ("False", "RolledOut")
    assert kubernetes.get("adep", "llama")["status"]["readyReplicas"] == 1


@pytest.mark.parametrize("example", ["llama-3.1-8b-160-adapters", "qwen-2.5-7b-minimal"])
def test_examples_are_applied_within_seconds(kubernetes, operator, capsys, example):
    item = yaml.safe_load((EXAMPLES / f"{example}.yaml").read_text())
    name = item["metadata"]["name"]
    started = time.monotonic()
    kubernetes.apply(item)
    kubernetes.eventually(lambda: kubernetes.list("statefulsets", name))
    applied_s = time.monotonic() - started
    kubernetes.eventually(lambda: kubernetes.condition(name, "Verified"), ("True", "TwinVerified"))
    [line] = operator.decisions(kubernetes.namespace)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{example}: spec applied → objects applied in {applied_s:.2f} s, {line['seconds']}\n"
        )
    assert kubernetes.get("adep", name)["status"]["replicas"] == 1


def test_five_hundred_adapters_are_applied_within_seconds(kubernetes, operator, make_deployment, capsys):
    item = make_deployment("many", adapters=500, rate="0.02", verification={"horizon": "1h", "seeds": 2})
    started = time.monotonic()
    kubernetes.apply(item)
    kubernetes.eventually(lambda: kubernetes.list("statefulsets", "many"))
    applied_s = time.monotonic() - started
    kubernetes.eventually(lambda: kubernetes.condition("many", "Verified"), ("True", "TwinVerified"))
    [line] = operator.decisions(kubernetes.namespace)
    size = len(json.dumps(kubernetes.get("adep", "many")))
    with capsys.disabled():
        sys.stdout.write(
            f"\n500 adapters: spec applied → objects applied in {applied_s:.2f} s, {line['seconds']}; "
            f"the object has {size / 1024:.0f} KiB\n"
        )
    assert size < 256 * 1024

"""The owned objects, rendered: what the profile and the plan say, what the user may add, and nothing else."""

import json

import pytest

from adapter_operator.kubernetes.manifests import names, render
from adapter_operator.kubernetes.manifests.arguments import cpu_loras
from adapter_operator.reconcile.inputs import intent_of
from adapter_operator.reconcile.values import Desired, DesiredPool, ObjectKey, Observed, PlanRecord
from adapter_predictor.plan import Plan, Pool

POOL = Pool(name="p-00000001", replicas=2, max_loras=16, max_lora_rank=32)


@pytest.fixture
def make_desired():
    """What is desired for a small object with two replicas."""

    def make(carried=None, replicas=2, **spec):
        listed = [
            {"name": f"org/tenant {n}", "rank": 8, "rate": "1", "source": {"path": f"/adapters/{n}"}}
            for n in range(3)
        ]
        base = {
            "model": {
                "name": "llama-3.1-8b-instruct",
                "source": {"huggingFace": {"repository": "meta/llama", "revision": "v1"}},
            },
            "profile": {"name": "llama-3.1-8b-instruct-h100-64gb"},
            "adapters": listed,
        }
        resource = {
            "apiVersion": "adaptwin.io/v1alpha1",
            "kind": "AdapterDeployment",
            "metadata": {"name": "llama", "namespace": "team", "uid": "u-1", "generation": 1},
            "spec": base | spec,
        }
        intent = intent_of(Observed(ObjectKey("team", "llama"), resource), None)
        shares = {
            "p-00000001-0": {"org/tenant 0": 1.0, "org/tenant 1": 0.5},
            "p-00000001-1": {"org/tenant 1": 0.5, "org/tenant 2": 1.0},
        }
        plan = Plan.build((POOL,), shares)
        assignments = {0: shares["p-00000001-0"], 1: shares["p-00000001-1"]}
        return Desired(
            deployment=intent.deployment,
            profile=intent.request.profile,
            record=PlanRecord(plan, 7, "inputs"),
            pools=(DesiredPool(POOL, replicas, assignments, carried or {}),),
        )

    return make


def rendered(desired):
    return {(item["kind"], item["metadata"]["name"]): item for item in render(desired)}


def stateful_set(desired):
    return rendered(desired)["StatefulSet", "llama-p-00000001"]


def container(desired):
    [one] = stateful_set(desired)["spec"]["template"]["spec"]["containers"]
    return one


def flags(desired):
    return dict(flag.removeprefix("--").partition("=")[::2] for flag in container(desired)["args"])


def test_the_plan_comes_first_and_engines_last(make_desired):
    kinds = [item["kind"] for item in render(make_desired())]
    assert kinds == ["ConfigMap", "Service", "PodDisruptionBudget", "ConfigMap", "StatefulSet"]


def test_the_same_input_gives_the_same_bytes(make_desired):
    first, second = (json.dumps(render(make_desired())) for _ in range(2))
    assert first == second


def test_everything_is_owned_and_labelled(make_desired):
    for item in render(make_desired()):
        [owner] = item["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == ("u-1", True, True)
        assert item["metadata"]["labels"][names.DEPLOYMENT_LABEL] == "llama"
        assert item["metadata"]["namespace"] == "team"


def test_arguments_are_those_of_the_profile_and_the_plan(make_desired):
    desired = make_desired()
    engine = desired.profile.engine
    assert flags(desired) == {
        "model": "meta/llama",
        "revision": "v1",
        "served-model-name": "llama-3.1-8b-instruct",
        "tensor-parallel-size": "1",
        "max-model-len": str(engine.max_model_len),
        "max-num-seqs": str(engine.max_num_seqs),
        "max-num-batched-tokens": str(engine.max_num_batched_tokens),
        "gpu-memory-utilization": f"{engine.gpu_memory_utilization:g}",
        "max-loras": "16",
        "max-lora-rank": "32",
        "max-cpu-loras": "512",
        "enable-lora": "",
    }


def test_a_users_arguments_come_once(make_desired):
    arguments = ["--max-num-seqs=64", "--uvicorn-log-level=warning"]
    written = container(make_desired(engine={"args": arguments}))["args"]
    assert [flag for flag in written if flag.startswith("--max-num-seqs")] == ["--max-num-seqs=64"]
    assert "--uvicorn-log-level=warning" in written


def test_the_number_of_adapters_does_not_change_the_engine():
    assert {cpu_loras(POOL, adapters) for adapters in (1, 160, 500, 512)} == {512}
    assert cpu_loras(POOL, 513) == 1024
    assert cpu_loras(POOL.model_copy(update={"max_loras": 600}), 1) == 1024


def test_a_model_may_lie_in_a_claim_or_on_a_path(make_desired):
    claim = {"name": "llama-3.1-8b-instruct", "source": {"pvc": {"claimName": "weights", "path": "llama"}}}
    desired = make_desired(model=claim)
    assert (flags(desired)["model"], "revision" in flags(desired)) == ("/model", False)
    mount = next(m for m in container(desired)["volumeMounts"] if m["mountPath"] == "/model")
    assert (mount["subPath"], mount["readOnly"]) == ("llama", True)
    path = {"name": "llama-3.1-8b-instruct", "source": {"path": "/weights"}}
    assert flags(make_desired(model=path))["model"] == "/weights"


def test_gpus_are_the_profiles_and_other_resources_the_users(make_desired):
    resources = {"requests": {"cpu": "4", "memory": "64Gi"}, "limits": {"memory": "96Gi"}}
    assert container(make_desired(engine={"resources": resources}))["resources"] == {
        "requests": {"cpu": "4", "memory": "64Gi", "nvidia.com/gpu": "1"},
        "limits": {"memory": "96Gi", "nvidia.com/gpu": "1"},
    }


def test_a_users_environment_comes_after_ours_and_each_variable_once(make_desired):
    source = {"secretKeyRef": {"name": "hub", "key": "token", "optional": False}}
    token = {"name": "HF_TOKEN", "valueFrom": source}
    env = [token, {"name": "HF_HOME", "value": "/cache"}]
    variables = container(make_desired(engine={"env": env}))["env"]
    listed = [variable["name"] for variable in variables]
    assert len(listed) == len(set(listed))
    assert {"name": "HF_HOME", "value": "/cache"} in variables
    assert {"name": "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "value": "1"} in variables
    assert token in variables


def test_the_image_is_the_profiles_version_unless_the_user_says_otherwise(make_desired):
    assert container(make_desired())["image"] == "vllm/vllm-openai:v0.8.5"
    assert container(make_desired(engine={"image": "mirror/vllm:x"}))["image"] == "mirror/vllm:x"


def test_pods_are_restricted_and_reach_no_api(make_desired):
    pod = stateful_set(make_desired())["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(make_desired())["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    grace = pod["terminationGracePeriodSeconds"]
    assert grace > container(make_desired())["lifecycle"]["preStop"]["sleep"]["seconds"]


def test_scheduling_is_the_users_and_spread_is_over_the_pool(make_desired):
    engine = {
        "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-64GB"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "topologySpread": [{"topologyKey": "kubernetes.io/hostname"}],
        "priorityClassName": "serving",
        "imagePullSecrets": [{"name": "registry"}],
    }
    desired = make_desired(engine=engine)
    pod = stateful_set(desired)["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == engine["nodeSelector"]
    assert pod["tolerations"] == engine["tolerations"]
    [spread] = pod["topologySpreadConstraints"]
    selector = stateful_set(desired)["spec"]["selector"]["matchLabels"]
    assert spread["labelSelector"]["matchLabels"] == selector
    assert (spread["topologyKey"], spread["maxSkew"]) == ("kubernetes.io/hostname", 1)
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    assert (pod["priorityClassName"], pod["imagePullSecrets"]) == ("serving", [{"name": "registry"}])


def test_assignments_are_keyed_by_ordinal_and_carry_what_leaves(make_desired):
    objects = rendered(make_desired(carried={2: "as it was"}, replicas=3))
    data = objects["ConfigMap", "llama-p-00000001-assignment"]["data"]
    assert (set(data), data["2"]) == ({"0", "1", "2"}, "as it was")
    first = json.loads(data["0"])
    assert (first["generation"], first["plan"]) == (7, make_desired().record.plan.hash)
    assert first["adapters"] == [
        {"name": "org/tenant 0", "rank": 8, "share": 1.0, "source": {"path": "/adapters/0"}},
        {"name": "org/tenant 1", "rank": 8, "share": 0.5, "source": {"path": "/adapters/1"}},
    ]


def test_plans_are_immutable_and_numbered(make_desired):
    desired = make_desired()
    plan = rendered(desired)["ConfigMap", desired.record.name("llama")]
    assert plan["immutable"] is True
    assert Plan.from_json(plan["data"]["plan.json"]) == desired.record.plan
    assert plan["metadata"]["annotations"] == {
        names.GENERATION_ANNOTATION: "7",
        names.INPUTS_ANNOTATION: "inputs",
    }


def test_the_longest_name_fits():
    longest = "a" * 40
    assert len(names.pool_object_name(longest, POOL.name)) <= 52
    assert len(names.service_name(longest)) <= 63

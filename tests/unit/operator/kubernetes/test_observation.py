"""What the API server's objects say, as the loop sees it."""

from adapter_operator.kubernetes.handlers import KnownObjects
from adapter_operator.kubernetes.manifests import names
from adapter_operator.kubernetes.observation import engine_problems, observed_pools, owner_name, plan_records
from adapter_operator.reconcile.rollout import PoolState
from adapter_operator.reconcile.values import ObjectKey
from adapter_predictor.plan import Plan, Pool

PLAN = Plan.build((Pool(name="p-1", replicas=1, max_loras=1, max_lora_rank=8),), {"p-1-0": {"a": 1.0}})
GPU = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."


def labelled(role, **metadata):
    labels = {names.ROLE_LABEL: role, names.POOL_LABEL: "p-1"}
    return {"metadata": {"name": "x", "labels": labels} | metadata}


def stored_plan(generation, text=None):
    annotations = {names.GENERATION_ANNOTATION: str(generation), names.INPUTS_ANNOTATION: "i"}
    data = {names.PLAN_KEY: PLAN.to_json() if text is None else text}
    return labelled(names.PLAN_ROLE, annotations=annotations) | {"data": data}


def engine(ordinal, *, ready=True, owner="pool-uid", **metadata):
    condition = {"type": "Ready", "status": str(ready)}
    owners = [{"kind": "StatefulSet", "uid": owner}]
    named = {"name": f"llama-p-1-{ordinal}", "ownerReferences": owners}
    return {"metadata": named | metadata, "status": {"conditions": [condition]}}


def test_a_stateful_set_that_was_just_made_has_no_pods_yet():
    item = labelled(names.ENGINE_ROLE, uid="pool-uid") | {"spec": {"replicas": 2}}
    assert observed_pools([item], [], [])[0].state == PoolState("p-1", 2, 0, 0, frozenset())


def test_those_pods_are_ready_that_say_so_and_are_to_stay():
    """What a StatefulSet's status counts as ready may be any ordinal, and may be going already."""
    item = labelled(names.ENGINE_ROLE, uid="pool-uid") | {
        "spec": {"replicas": 4},
        "status": {"replicas": 4, "readyReplicas": 3},
    }
    going, foreign = engine(2, deletionTimestamp="now"), engine(0, owner="another")
    pods = [engine(0, ready=False), engine(1), going, engine(3), foreign]
    assert observed_pools([item], [], pods)[0].state == PoolState("p-1", 4, 4, 2, frozenset({1, 3}))


def test_pools_have_what_is_published_for_them():
    item = labelled(names.ENGINE_ROLE, uid="pool-uid") | {"spec": {"replicas": 2}}
    assignment = labelled(names.ASSIGNMENT_ROLE) | {"data": {"0": "zero", "1": "one", "note": "?"}}
    [pool] = observed_pools([item], [assignment, stored_plan(1)], [])
    assert pool.assignments == {0: "zero", 1: "one"}


def test_the_highest_generation_is_in_force_and_nonsense_is_skipped(caplog):
    nonsense = stored_plan("three"), stored_plan(9, "{"), labelled(names.PLAN_ROLE)
    records = plan_records([stored_plan(1), *nonsense, stored_plan(2)])
    assert [record.generation for record in records] == [2, 1]
    assert len(caplog.records) == 3


def test_pods_that_cannot_start_say_why():
    unschedulable = {
        "metadata": {"name": "b"},
        "status": {
            "conditions": [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": GPU}
            ]
        },
    }
    waiting = {
        "metadata": {"name": "a"},
        "status": {
            "containerStatuses": [
                {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}
            ]
        },
    }
    starting = {
        "metadata": {"name": "c"},
        "status": {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]},
    }
    first, second = engine_problems([unschedulable, waiting, starting, {"metadata": {"name": "d"}}])
    assert (first.engine, first.reason, first.lacks_gpus) == ("a", "ImagePullBackOff", False)
    assert (second.engine, second.message, second.lacks_gpus) == ("b", GPU, True)


def test_owners_are_found_by_kind():
    item = {"metadata": {"ownerReferences": [{"kind": "Other", "name": "x"}, {"kind": "Mine", "name": "y"}]}}
    assert (owner_name(item, "Mine"), owner_name(item, "Third"), owner_name({}, "Mine")) == ("y", None, None)


def test_config_maps_lead_to_the_objects_that_refer_to_them():
    known, first, second = KnownObjects(), ObjectKey("n", "first"), ObjectKey("n", "second")
    listed = {"adaptersFrom": [{"configMap": {"name": "more", "key": "list"}}]}
    profile = {"profile": {"configMap": {"name": "own", "key": "profile.json"}}}
    known.note(first, listed | profile)
    known.note(second, listed)
    known.note(ObjectKey("other", "first"), listed)
    assert sorted(known.referring_to("n", "more")) == [first, second]
    assert known.referring_to("n", "own") == [first]
    known.note(first, {})
    known.forget(second)
    assert known.referring_to("n", "more") == []
    assert len(known) == 2

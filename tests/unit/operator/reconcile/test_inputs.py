"""What is planned for, and when it counts as changed."""

import json

import pytest

from adapter_operator.errors import SpecError
from adapter_operator.reconcile.inputs import document_references, intent_of
from adapter_twin.errors import ProfileError
from adapter_twin.profile import load_profile

UNCHANGED = {
    "nothing": lambda spec: None,
    "the order of adapters": lambda spec: spec["adapters"].reverse(),
    "where an adapter comes from": lambda spec: spec["adapters"][0].update(source={"path": "/elsewhere"}),
    "a default, spelled out": lambda spec: spec.update(objectives={"servedFractionPercent": 95}),
    "how it is rolled out": lambda spec: spec.update(rollout={"maxSurgeGPUs": 3}),
    "whether it is carried out": lambda spec: spec.update(scaling={"mode": "Recommend"}),
}
CHANGED = {
    "a rate": lambda spec: spec["adapters"][0].update(rate="0.6"),
    "a rank": lambda spec: spec["adapters"][0].update(rank=16),
    "an adapter": lambda spec: spec["adapters"].pop(),
    "an objective": lambda spec: spec.update(objectives={"headroomPercent": 20}),
    "a limit": lambda spec: spec.update(scaling={"maxReplicas": 3}),
    "an engine argument": lambda spec: spec.update(engine={"args": ["--max-num-seqs=64"]}),
    "the image": lambda spec: spec.update(engine={"image": "mirror/vllm:v0.8.5"}),
    "burstiness": lambda spec: spec.update(
        traffic={"arrivals": {"process": "Gamma", "coefficientOfVariation": "2"}}
    ),
}


def inputs_after(change, make_observed):
    observed = make_observed()
    change(observed.resource["spec"])
    return intent_of(observed, None).inputs


@pytest.mark.parametrize("what", UNCHANGED)
def test_plans_do_not_depend_on(what, make_observed):
    assert inputs_after(UNCHANGED[what], make_observed) == inputs_after(lambda _: None, make_observed)


@pytest.mark.parametrize("what", CHANGED)
def test_plans_depend_on(what, make_observed):
    assert inputs_after(CHANGED[what], make_observed) != inputs_after(lambda _: None, make_observed)


def test_observed_rates_come_before_declared_ones(make_observed):
    declared = intent_of(make_observed(), None)
    observed = intent_of(make_observed(), {"tenant/0": 3.0})
    assert [adapter.rate for adapter in observed.request.adapters] == [3.0, 0.5, 0.5]
    assert observed.inputs != declared.inputs


def test_the_plan_in_force_is_what_placement_starts_from(make_observed, make_record):
    record = make_record()
    intent = intent_of(make_observed(plans=[record]), None)
    assert intent.request.present == record.plan
    assert intent.inputs == intent_of(make_observed(), None).inputs


REFERENCE = {"configMap": {"name": "more", "key": "list"}}
LISTED = {"name": "listed", "rank": 16, "rate": "1", "source": {"path": "/listed"}}


def test_adapters_of_config_maps_are_adapters_like_the_others(make_observed):
    documents = {("more", "list"): json.dumps([LISTED])}
    observed = make_observed(adaptersFrom=[REFERENCE], documents=documents)
    assert document_references(observed.resource["spec"]) == [("more", "list")]
    intent = intent_of(observed, None)
    assert [adapter.name for adapter in intent.request.adapters][-1] == "listed"
    assert [adapter.name for adapter in intent.deployment.spec.adapters][-1] == "listed"


def test_a_profile_may_be_the_users_own(make_observed):
    shipped = load_profile("llama-3.1-8b-instruct-h100-64gb")
    own = shipped.model_copy(update={"name": "own"})
    documents = {("profiles", "own.json"): own.model_dump_json()}
    profile = {"configMap": {"name": "profiles", "key": "own.json"}}
    intent = intent_of(make_observed(profile=profile, documents=documents), None)
    assert intent.request.profile.name == "own"


WRONG_DOCUMENTS = {
    "no such ConfigMap": ({}, "spec.adaptersFrom[0].configMap: there is no key list in a ConfigMap more"),
    "not a list": ({("more", "list"): "{"}, "spec.adaptersFrom[0].configMap"),
    "a wrong rank": (
        {("more", "list"): json.dumps([LISTED | {"rank": 7}])},
        "rank",
    ),
    "a taken name": (
        {("more", "list"): json.dumps([LISTED | {"name": "tenant/0"}])},
        "tenant/0",
    ),
}


@pytest.mark.parametrize("why", WRONG_DOCUMENTS)
def test_a_wrong_config_map_is_named(make_observed, why):
    documents, sentence = WRONG_DOCUMENTS[why]
    with pytest.raises(SpecError) as caught:
        intent_of(make_observed(adaptersFrom=[REFERENCE], documents=documents), None)
    assert sentence in str(caught.value)


def test_a_wrong_profile_is_named_by_its_field(make_observed):
    profile = {"configMap": {"name": "profiles", "key": "own.json"}}
    documents = {("profiles", "own.json"): '{"name": "own"}'}
    with pytest.raises(
        ProfileError, match=r"spec\.profile\.configMap profiles/own\.json: \w+: Field required"
    ):
        intent_of(make_observed(profile=profile, documents=documents), None)

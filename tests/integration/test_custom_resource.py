"""The API server says of AdapterDeployments what the models say, and fills in the same defaults."""

import json
from pathlib import Path

import pytest
import yaml
from kubernetes.client import ApiException, CustomObjectsApi

import spec_corpus
from adapter_operator.api.load import parse_adapter_deployment
from adapter_operator.api.v1alpha1 import GROUP, PLURAL, VERSION

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.yaml"))


@pytest.fixture
def create(admin, namespace):
    """Creates an object without keeping it, as strictly as kubectl; gives what would have been stored."""
    api = CustomObjectsApi(admin)

    def create(item):
        return api.create_namespaced_custom_object(
            GROUP, VERSION, namespace, PLURAL, item, dry_run="All", field_validation="Strict"
        )

    return create


def test_valid_objects_are_accepted_with_the_defaults_of_the_models(create):
    for case in spec_corpus.valid():
        stored = parse_adapter_deployment(create(case.item))
        assert stored.spec == parse_adapter_deployment(case.item).spec, case.why


def test_invalid_objects_are_rejected(create):
    statuses = {case.why: _status(create, case.item) for case in spec_corpus.invalid()}
    assert {why: status for why, status in statuses.items() if status not in (400, 422)} == {}


def _status(create, item):
    """The HTTP status with which an object is refused; 0 where it is accepted."""
    try:
        create(item)
    except ApiException as error:
        return error.status
    return 0


def test_rules_say_what_the_models_say(create):
    """A rule's message is the same sentence, whoever checks it."""
    text = (REPOSITORY / "crds/adapterdeployments.yaml").read_text()
    messages = set(_messages(yaml.safe_load(text)))
    for case in spec_corpus.invalid():
        for message in (message for message in messages if case.fault.endswith(message)):
            with pytest.raises(ApiException) as caught:
                create(case.item)
            assert message in json.loads(caught.value.body)["message"], case.why


def _messages(node):
    """The messages of all rules in a schema."""
    if isinstance(node, dict):
        yield from (rule["message"] for rule in node.get("x-kubernetes-validations", []))
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from _messages(inner)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_accepted(create, path):
    item = yaml.safe_load(path.read_text())
    assert parse_adapter_deployment(create(item)).spec == parse_adapter_deployment(item).spec

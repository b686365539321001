"""The models and the custom resource's schema say the same, field by field and both ways."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args

import pytest

from adapter_operator.api.v1alpha1 import API_VERSION, GROUP, KIND, PLURAL, VERSION
from adapter_operator.api.v1alpha1.spec import Rank
from adapter_twin.memory import ALLOWED_LORA_RANKS


def fields(node: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every field, item and value below a node, each with its path."""
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from fields(inner, f"{path}.{name}")
    if "items" in node:
        yield from fields(node["items"], f"{path}[]")
    if "additionalProperties" in node:
        yield from fields(node["additionalProperties"], f"{path}{{}}")


def said(node: Mapping[str, Any], part: str) -> dict[str, Any]:
    """What a node says itself: no prose, messages for rules; a status has no defaults."""
    left_out = {"description", "properties", "items", "additionalProperties"}
    if part == "status":
        left_out |= {"default"}
    own = {key: value for key, value in node.items() if key not in left_out}
    if "required" in own:
        own["required"] = sorted(own["required"])
    if "x-kubernetes-validations" in own:
        own["x-kubernetes-validations"] = [rule["message"] for rule in own["x-kubernetes-validations"]]
    return own


@pytest.mark.parametrize("part", ["spec", "status"])
def test_every_field_says_the_same(written, implied, part):
    of_schema = {path: said(node, part) for path, node in fields(written["properties"][part], part)}
    of_models = {path: said(node, part) for path, node in fields(implied["properties"][part], part)}
    assert of_models == of_schema


def test_rules_of_the_whole_object_are_the_same(written, implied):
    assert said(written, "")["x-kubernetes-validations"] == said(implied, "")["x-kubernetes-validations"]


def test_the_status_has_no_defaults(written):
    assert not [path for path, node in fields(written["properties"]["status"], "status") if "default" in node]


def test_names_are_the_same(crd):
    names = crd["spec"]["names"]
    (version,) = crd["spec"]["versions"]
    assert (crd["spec"]["group"], version["name"]) == (GROUP, VERSION)
    assert f"{GROUP}/{VERSION}" == API_VERSION
    assert (names["kind"], names["plural"], names["shortNames"]) == (KIND, PLURAL, ["adep"])
    assert crd["metadata"]["name"] == f"{PLURAL}.{GROUP}"


def test_ranks_are_those_of_the_twin():
    assert get_args(Rank) == ALLOWED_LORA_RANKS

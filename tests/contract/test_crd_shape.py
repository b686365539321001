"""The schema keeps the conventions of Kubernetes APIs, and what this project promises of it."""

from collections.abc import Iterator, Mapping
from typing import Any


def fields(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, inner in node.get("properties", {}).items():
        yield f"{path}.{name}", inner
        yield from fields(inner, f"{path}.{name}")
    if "items" in node:
        yield from fields(node["items"], f"{path}[]")


def test_every_field_is_described(written):
    undescribed = [path for path, node in fields(written) if not node.get("description")]
    assert undescribed == [".metadata"]


def test_there_are_no_floats(written):
    assert not [path for path, node in fields(written) if node.get("type") == "number"]


def test_every_list_and_text_is_bounded(written):
    """Without bounds the API server refuses rules over them: their cost could be anything."""
    unbounded = [
        path
        for path, node in fields(written)
        if (node.get("type") == "array" and "maxItems" not in node)
        or (node.get("type") == "string" and not {"maxLength", "enum", "format"} & set(node))
    ]
    assert unbounded == [".apiVersion", ".kind"]


def test_every_rule_has_a_message(written):
    rules = [rule for _, node in fields(written) for rule in node.get("x-kubernetes-validations", [])]
    assert rules
    assert all(rule["message"] for rule in rules)


def test_the_columns(crd):
    (version,) = crd["spec"]["versions"]
    shown = [c["name"] for c in version["additionalPrinterColumns"] if not c.get("priority")]
    assert shown == ["Model", "Adapters", "Replicas", "Ready", "GPUs", "Verified", "Age"]


def test_status_is_a_subresource_and_scale_is_none(crd):
    """An autoscaler that could set replicas would fight the planner."""
    (version,) = crd["spec"]["versions"]
    assert version["subresources"] == {"status": {}}
    assert crd["spec"]["scope"] == "Namespaced"


def test_conditions_are_those_of_kubernetes(written):
    conditions = written["properties"]["status"]["properties"]["conditions"]
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert set(conditions["items"]["required"]) == {
        "type",
        "status",
        "reason",
        "message",
        "lastTransitionTime",
    }

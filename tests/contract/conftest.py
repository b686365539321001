"""The custom resource's schema as it is written, and as the models imply it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapter_operator.api.v1alpha1 import AdapterDeployment

REPOSITORY = Path(__file__).parents[2]

# What pydantic and a structural schema say in the same words.
SHARED = {
    "enum",
    "format",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-validations",
}


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def crd(repository) -> dict[str, Any]:
    return yaml.safe_load((repository / "crds/adapterdeployments.yaml").read_text())


@pytest.fixture(scope="session")
def written(crd) -> dict[str, Any]:
    """The schema of the one version."""
    (version,) = crd["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


@pytest.fixture(scope="session")
def implied() -> dict[str, Any]:
    """The schema that the models imply, in the words of a structural schema."""
    schema = AdapterDeployment.model_json_schema(by_alias=True)
    return structural(schema, schema["$defs"])


def structural(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A node of a pydantic schema without references, unions with null, and titles."""
    node = resolved(node, definitions)
    result = {key: value for key, value in node.items() if key in SHARED}
    if "const" in node:
        result["enum"] = [node["const"]]
    if "properties" in node:
        result["properties"] = {
            name: structural(inner, definitions) for name, inner in node["properties"].items()
        }
        if node.get("required"):
            result["required"] = sorted(node["required"])
    elif isinstance(node.get("additionalProperties"), Mapping):
        result["additionalProperties"] = structural(node["additionalProperties"], definitions)
    elif node.get("type") == "object":
        result["x-kubernetes-preserve-unknown-fields"] = True
    if "items" in node:
        result["items"] = structural(node["items"], definitions)
    return result | default_of(node, result)


def resolved(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """The node with its reference, or the one option that is not null, put in its place."""
    if "$ref" in node:
        return resolved(definitions[node["$ref"].rsplit("/", 1)[1]], definitions) | without(node, "$ref")
    if "anyOf" in node:
        (option,) = [option for option in node["anyOf"] if option.get("type") != "null"]
        return resolved(option, definitions) | without(node, "anyOf")
    return dict(node)


def without(node: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name != key}


def default_of(node: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """The default as a structural schema has it: an object has one where fields within have."""
    default = node.get("default")
    if "properties" in result:
        inner = any("default" in field for field in result["properties"].values())
        return {"default": {}} if inner and default is not None else {}
    return {} if default is None or default in ([], {}) else {"default": default}
